"""Every class that the installed libraries export: what our answer says against what the library writes.

Run it from the repository's root, with the tests beside it on the path::

    PYTHONPATH=tests python tests/families/sweep.py [diffusers|transformers] [--only PATTERN] [--skip PATTERN]

Stdout gets one JSON object: totals, and by class and scheme ``equal``, ``different``, ``refused`` (by us),
``library fails`` (its own load or save) or ``cannot be built``, each with the reason. Progress goes to stderr.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import json
import re
import shutil
import sys
import tempfile
import warnings
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from families import comparing, diffusers_models, transformers_models
from families.comparing import Case, Family

from pipeline.checkpoint import linears

SOURCES = {"diffusers": diffusers_models, "transformers": transformers_models}
SCHEMES = {"diffusers": ("nf4", "int8", "torchao", "quanto"), "transformers": ("nf4", "int8", "torchao")}
STORED = ("bfloat16", "float16", "float32")
BATCH = 24  # classes that one child is asked about


def first_line(error: BaseException) -> str:
    """Return what an error says in one line."""
    return f"{type(error).__name__}: {(str(error).strip().splitlines() or [''])[0][:200]}"


def saved(library: str, classes: list[tuple[str, Any]], root: Path, rows: dict[str, Any]) -> Iterator[Family]:
    """Save a tiny model of each class, in each of three dtypes in turn."""
    import torch

    for name, cls in classes:
        torch.manual_seed(0)
        dtype = STORED[sum(map(ord, name)) % len(STORED)]
        try:
            SOURCES[library].tiny_model(cls).to(getattr(torch, dtype)).save_pretrained(root / name)
            family = Family(library, name, root / name)
            _ = family.weights
        except Exception as error:
            rows[name] = {"built": first_line(error)}
            continue
        yield family


def judge(case: Case, said: dict[str, Any], out: Path) -> tuple[str, Any]:
    """Compare an answer with what the library does."""
    answer = None if "error" in said else linears.Answer.model_validate(said)
    try:
        theirs, config = comparing.by_library(case, answer, out)
    except Exception as error:
        return "library fails", [first_line(error), said.get("what", "we answer")]
    if answer is None:
        return "refused", said["what"]
    try:
        found = comparing.differences(comparing.as_answered(case, answer), theirs)
    except Exception as error:
        return "different", first_line(error)
    found += comparing.config_differences(answer.config, config)
    if not found and not any(conversion.quantized for conversion in answer.conversions.values()):
        return "equal", "nothing quantized"
    return ("different", found) if found else ("equal", None)


def ask_all(cases: list[Case]) -> list[dict[str, Any]]:
    """Ask about all cases in one child; where it falls, about each in its own."""
    try:
        return linears.ask_library([case.question() for case in cases], "sweep")
    except Exception as error:
        if len(cases) == 1:
            return [{"error": "library", "what": f"the child fell: {error}"}]
        return [ask_all([case])[0] for case in cases]


def sweep(library: str, only: str, skip: str, dtype: str) -> dict[str, Any]:
    """Return what came of every class of a library."""
    rows: dict[str, Any] = {}
    chosen = [pair for pair in SOURCES[library].classes() if re.search(only, pair[0]) and not re.search(skip, pair[0])]
    for first in range(0, len(chosen), BATCH):
        batch = chosen[first : first + BATCH]
        with tempfile.TemporaryDirectory() as root:
            families = list(saved(library, batch, Path(root), rows))
            cases = [Case(family, scheme, dtype) for family in families for scheme in SCHEMES[library]]
            for case, said in zip(cases, ask_all(cases) if cases else [], strict=True):
                out = Path(root) / "out"
                verdict = judge(case, said, out)
                rows.setdefault(case.family.name, {})[case.scheme] = verdict
                shutil.rmtree(out, ignore_errors=True)
                if verdict[0] == "different":
                    sys.stderr.write(f"{case} {verdict}\n")
        gc.collect()
        sys.stderr.write(f"{library}: {first + len(batch)} of {len(chosen)}\n")
    return rows


def main() -> None:
    """Sweep and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("libraries", nargs="*", default=[])
    parser.add_argument("--only", default="")
    parser.add_argument("--skip", default="^$")
    parser.add_argument("--dtype", default="bfloat16")
    asked = parser.parse_args()
    warnings.simplefilter("ignore")
    import diffusers
    import transformers

    diffusers.logging.set_verbosity_error()
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    with contextlib.redirect_stdout(sys.stderr):
        rows = {name: sweep(name, asked.only, asked.skip, asked.dtype) for name in asked.libraries or SOURCES}
    totals = {
        library: Counter(
            "cannot be built" if "built" in row else row[scheme][0] for row in found.values() for scheme in row
        )
        for library, found in rows.items()
    }
    sys.stdout.write(json.dumps({"totals": totals, "classes": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()

"""Every class that the installed libraries export: what our answer says against what the library writes.

Run it from the repository's root, with the tests beside it on the path::

    PYTHONPATH=tests python tests/families/sweep.py [diffusers|transformers] [--only PATTERN] [--keep]

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
from dataclasses import replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from families import comparing, diffusers_models, transformers_models
from families.comparing import Case, Family

from pipeline.backends.oracle import conversion

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
    answer = None if "error" in said else conversion.ConversionPlan.model_validate(said)
    try:
        theirs = comparing.by_library(case, answer, out)
    except Exception as error:
        return "library fails", [first_line(error), said.get("what", "we answer")]
    if answer is None:
        return "refused", said["what"]
    try:
        found = comparing.differences(comparing.as_answered(case, answer), theirs)
    except Exception as error:
        return "different", first_line(error)
    if not found and not any(conversion.quantized for conversion in answer.conversions.values()):
        return "equal", "nothing quantized"
    return ("different", found) if found else ("equal", None)


def globs(said: dict[str, Any]) -> list[str]:
    """Return what a recipe might keep of a component: one module, all of a name, and a whole container."""
    taken = [name.removesuffix(".weight") for name in weights_of(said)]
    if len(taken) < 2:
        return []
    return [taken[0], f"*{taken[len(taken) // 2].rpartition('.')[2]}", taken[-1].rpartition(".")[0] or taken[-1]]


def weights_of(said: dict[str, Any]) -> list[str]:
    """Return the model's weights that an answer quantizes."""
    return [part["parameter"] for part in said.get("conversions", {}).values() if part["quantized"]]


def judge_keep(case: Case, said: dict[str, Any], default: dict[str, Any], out: Path) -> tuple[str, Any]:
    """Hold an answer with ``keep`` against the pattern and the library."""
    (glob,) = case.keep
    modules = {name.removesuffix(".weight") for name in weights_of(default)}
    named = {name for name in modules if fnmatchcase(name, glob) or fnmatchcase(name, f"{glob}.*")}
    if "error" in said:
        return "refused", [glob, said["what"]]
    if {name.removesuffix(".weight") for name in weights_of(said)} != modules - named:
        return "different", f"{glob} keeps other modules than it names"
    verdict, why = judge(case, said, out)
    return verdict, [glob, why]


def ask_all(cases: list[Case]) -> list[dict[str, Any]]:
    """Ask about all cases in one child; where it falls, about each in its own."""
    try:
        return conversion.ask_library([case.question() for case in cases], "sweep")
    except Exception as error:
        if len(cases) == 1:
            return [{"error": "library", "what": f"the child fell: {error}"}]
        return [ask_all([case])[0] for case in cases]


def judged(cases: list[Case], out: Path, *, keep: bool) -> Iterator[tuple[Case, tuple[str, Any]]]:
    """Yield what came of every case, or with ``keep`` of three patterns on each."""
    defaults = dict(zip(cases, ask_all(cases) if cases else [], strict=True))
    kept = [replace(case, keep=(glob,)) for case, said in defaults.items() for glob in globs(said) if keep]
    answers = dict(zip(kept, ask_all(kept), strict=True)) if kept else {} if keep else defaults
    for case, said in answers.items():
        default = defaults[replace(case, keep=())]
        yield case, judge_keep(case, said, default, out) if keep else judge(case, said, out)
        shutil.rmtree(out, ignore_errors=True)


def sweep(library: str, only: str, skip: str, dtype: str, *, keep: bool) -> dict[str, Any]:
    """Return what came of every class of a library."""
    rows: dict[str, Any] = {}
    chosen = [pair for pair in SOURCES[library].classes() if re.search(only, pair[0]) and not re.search(skip, pair[0])]
    for first in range(0, len(chosen), BATCH):
        batch = chosen[first : first + BATCH]
        with tempfile.TemporaryDirectory() as root:
            families = list(saved(library, batch, Path(root), rows))
            cases = [Case(family, scheme, dtype) for family in families for scheme in SCHEMES[library]]
            for case, verdict in judged(cases, Path(root) / "out", keep=keep):
                rows.setdefault(case.family.name, {})["-".join((case.scheme, *case.keep))] = verdict
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
    parser.add_argument("--keep", action="store_true", help="keep three patterns of each in turn")
    asked = parser.parse_args()
    warnings.simplefilter("ignore")
    import diffusers
    import transformers

    diffusers.logging.set_verbosity_error()
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    with contextlib.redirect_stdout(sys.stderr):
        rows = {
            name: sweep(name, asked.only, asked.skip, asked.dtype, keep=asked.keep)
            for name in asked.libraries or SOURCES
        }
    totals = {
        library: Counter(
            "cannot be built" if "built" in row else row[scheme][0] for row in found.values() for scheme in row
        )
        for library, found in rows.items()
    }
    sys.stdout.write(json.dumps({"totals": totals, "classes": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()

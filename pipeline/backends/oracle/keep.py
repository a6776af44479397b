"""What ``keep`` names, and how it is said to a library so that exactly that is kept.

Part of the child process that asks the libraries; see `pipeline.backends.oracle.worker`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from fnmatch import fnmatchcase

from pipeline.backends import BACKENDS
from pipeline.backends.oracle.conversion import ConversionRequest
from pipeline.backends.oracle.model import Prepared
from pipeline.worker.child import WorkerError


def matching(patterns: Iterable[str], names: list[str]) -> set[str]:
    """Return the modules that patterns name: exactly, by glob, or as a container of them.

    Raises:
        WorkerError: A pattern names none.
    """
    found = set()
    for pattern in patterns:
        hit = {name for name in names if fnmatchcase(name, pattern) or fnmatchcase(name, f"{pattern}.*")}
        if not hit:
            raise WorkerError(
                "keep", f"keep: {pattern!r} names no Linear module.", f"There are, for example, {', '.join(names[:3])}."
            )
        found |= hit
    return found


def spell(question: ConversionRequest, prepared: Prepared, wanted: set[str]) -> list[str]:
    """Spell the modules to leave alone the way this library compares them."""
    spelling = BACKENDS[question.backend].SKIP["spelling"]
    left = [name for name in prepared.linears() if name not in wanted]
    if spelling == "leaf":
        return sorted({name.rpartition(".")[2] for name in left})
    if spelling == "parameter" and question.library == "diffusers":
        return [f"{name}.weight" for name in left]
    if question.library == "transformers" and spelling != "verbatim":
        return [re.escape(name) if spelling == "module" else f"{re.escape(name)}.weight" for name in left]
    return left


def agree(question: ConversionRequest, converted: set[str], wanted: set[str]) -> None:
    """Refuse a ``keep`` that the library would understand otherwise.

    Raises:
        WorkerError: The library would keep more or fewer modules than the recipe says.
    """
    if converted == wanted:
        return
    more, fewer = sorted(wanted - converted), sorted(converted - wanted)
    also = f"would also keep {', '.join(more[:4])}" if more else f"would still convert {', '.join(fewer[:4])}"
    raise WorkerError(
        "keep",
        f"{question.quantization['quant_method']} in {question.library} cannot keep {', '.join(question.keep)} alone: "
        f"it matches names more loosely than that and {also}.",
        "Name those modules too, for example with a glob such as '*proj_out', or use another backend.",
    )

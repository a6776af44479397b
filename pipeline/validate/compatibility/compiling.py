"""Draw before a component is compiled, and after, in the process that tries."""

from __future__ import annotations

import time
import traceback
from collections.abc import Iterator, Mapping
from statistics import median

from pipeline.validate.compatibility.asking import Tried
from pipeline.validate.compatibility.consumer import Trial, words_of
from pipeline.validate.consumer import Drawn

IDENTICAL = 100.0  # decibels that stand for no difference at all
LACKING = ("InvalidCxxCompiler", "TritonMissing", "Python.h", "No such file or directory: 'g++'")
MOST_BREAKS = 5


def compile_and_draw(trial: Trial) -> Tried:
    """Draw every prompt eagerly and compiled, and count what dynamo did.

    The first picture of each kind warms up, and compiles; it is drawn once more where it is the only one.
    """
    from torch._dynamo.utils import counters

    prompts = trial.request.prompts if len(trial.request.prompts) > 1 else trial.request.prompts * 2
    trial.total = 2 * len(prompts)
    eager, eager_seconds = timed(trial, prompts)
    component = getattr(trial.pipe, trial.job["component"])
    counters.clear()
    try:
        component.compile(fullgraph=trial.job["fullgraph"], mode=trial.job["mode"])
        first, first_seconds = timed(trial, prompts[:1])
        graphs, breaks = counters["stats"]["unique_graphs"], dict(counters["graph_break"])
        rest, rest_seconds = timed(trial, prompts[1:])
    except Exception as error:  # a library's own, of any class: that it cannot is what is to be found out
        traceback.print_exc()
        return trial.said(failure=words_of(error), missing=lacking(error), breaks=reasons(counters["graph_break"]))
    steady, before = median(rest_seconds), median(eager_seconds[1:])
    compiled = [*first, *rest]
    numbers = {
        "graph_breaks": sum(breaks.values()),
        "graphs": graphs,
        "recompiles": counters["stats"]["unique_graphs"] - graphs,
        "speedup": before / steady,
        "eager_seconds": before,
        "compiled_seconds": steady,
        "compile_seconds": max(first_seconds[0] - steady, 0.0),
        "not_numbers": sum(not_numbers(drawn) for drawn in compiled),
        "psnr": min(psnr(one, other) for one, other in zip(eager, compiled, strict=True)),
    }
    return trial.said(numbers=numbers, breaks=reasons(breaks))


def timed(trial: Trial, prompts: tuple[str, ...]) -> tuple[list[Drawn], list[float]]:
    """Return pictures, and the seconds that each took."""
    found, seconds = [], []
    for prompt in prompts:
        began = time.perf_counter()
        found.append(trial.draw(prompt))
        seconds.append(time.perf_counter() - began)
    return found, seconds


def lacking(error: BaseException) -> str:
    """Return what of this machine's compiler is missing, if that is what an error says."""
    for cause in chain(error):
        if found := next((word for word in LACKING if word in f"{type(cause).__name__} {cause}"), ""):
            return found
    return ""


def chain(error: BaseException | None) -> Iterator[BaseException]:
    """Return an error and everything that it came from; dynamo keeps the inner one of a compiler as an attribute."""
    while error is not None:
        yield error
        error = getattr(error, "inner_exception", None) or error.__cause__ or error.__context__


def reasons(breaks: Mapping[str, int]) -> tuple[str, ...]:
    """Return the first line of why the graph broke, most frequent first."""
    ranked = sorted(breaks, key=lambda reason: -breaks[reason])
    return tuple(reason.strip().splitlines()[0] for reason in ranked[:MOST_BREAKS])


def not_numbers(drawn: Drawn) -> int:
    """Count the values of a picture that are NaN or infinite."""
    import numpy as np

    return int((~np.isfinite(drawn.values)).sum())


def psnr(one: Drawn, other: Drawn) -> float:
    """Return the PSNR between two pictures with values in [0, 1], in decibels; 0 where one is not finite."""
    import numpy as np

    error = float(np.mean((np.asarray(one.values, np.float64) - np.asarray(other.values, np.float64)) ** 2))
    if not np.isfinite(error):
        return 0.0
    return min(IDENTICAL, float(-10 * np.log10(error))) if error else IDENTICAL

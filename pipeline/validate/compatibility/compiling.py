"""Answers before a component is compiled, and after, in the process that tries."""

from __future__ import annotations

import time
import traceback
from collections.abc import Iterator, Mapping, Sequence
from statistics import median

from pipeline.tasks.protocol import Given
from pipeline.validate.compatibility.asking import Tried
from pipeline.validate.compatibility.consumer import Trial, words_of

LACKING = ("InvalidCxxCompiler", "TritonMissing", "Python.h", "No such file or directory: 'g++'")
MOST_BREAKS = 5


def compile_and_ask(trial: Trial) -> Tried:
    """Ask every question eagerly and compiled, and count what dynamo did.

    The first answer of each kind warms up, and compiles; it is asked for once more where it is the only one.
    """
    from torch._dynamo.utils import counters
    from torch._inductor import config

    config.force_disable_caches = True  # what an earlier run compiled would cost nothing

    every = range(len(trial.request.questions))
    questions = [*every] if len(every) > 1 else [0, 0]
    trial.total = 2 * len(questions)
    eager, eager_seconds = timed(trial, questions)
    component = trial.loaded.components[trial.job["component"]]
    counters.clear()
    try:
        component.compile(fullgraph=trial.job["fullgraph"], mode=trial.job["mode"])
        first, first_seconds = timed(trial, questions[:1])
        graphs, breaks = counters["stats"]["unique_graphs"], dict(counters["graph_break"])
        rest, rest_seconds = timed(trial, questions[1:])
    except Exception as error:  # a library's own, of any class: that it cannot is what is to be found out
        traceback.print_exc()
        return trial.said(failure=words_of(error), missing=lacking(error), breaks=reasons(counters["graph_break"]))
    steady, before = median(rest_seconds), median(eager_seconds[1:])
    compiled, decibels = [*first, *rest], trial.task.medium.decibels
    numbers = {
        "graph_breaks": sum(breaks.values()),
        "graphs": graphs,
        "recompiles": counters["stats"]["unique_graphs"] - graphs,
        "speedup": before / steady,
        "eager_seconds": before,
        "compiled_seconds": steady,
        "compile_seconds": max(first_seconds[0] - steady, 0.0),
        "not_numbers": sum(not_numbers(given) for given in compiled),
        "psnr": min(decibels(one.values, other.values) for one, other in zip(eager, compiled, strict=True)),
    }
    return trial.said(numbers=numbers, breaks=reasons(breaks))


def timed(trial: Trial, questions: Sequence[int]) -> tuple[list[Given], list[float]]:
    """Return answers, and the seconds that each took."""
    found, seconds = [], []
    for question in questions:
        began = time.perf_counter()
        found.append(trial.ask(question))
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


def not_numbers(given: Given) -> int:
    """Count the values of an answer that are NaN or infinite."""
    import numpy as np

    return int((~np.isfinite(given.values)).sum())

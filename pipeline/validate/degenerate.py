"""Answers that are none: on the candidate's side they fail it, on the source's side nothing can be judged."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pipeline.errors import RecipeError
from pipeline.tasks import Task
from pipeline.tasks.metrics import Pair
from pipeline.validate.pairs import Side


def degenerate_candidate(side: Side, pairs: Sequence[Pair]) -> list[str]:
    """Return for every pair what makes the candidate's answer none, as the end of a sentence; empty for an answer.

    What the source does as well is no fault of the candidate's: of drawings in black and white most values are full.
    """
    medium, found = side.task.medium, []
    twins = _twins(side.task, [pair.candidate for pair in pairs], pairs)
    own = _twins(side.task, [pair.reference for pair in pairs], pairs)
    for index, (answer, pair) in enumerate(zip(side.answers.given, pairs, strict=True)):
        fault = answer.fault or medium.fault(pair.candidate, pair.reference)
        if not fault and index in twins and index not in own:
            fault = f"the same as that for {pairs[twins[index]].prompt!r}"
        found.append(fault)
    return found


def refuse_degenerate_source(side: Side, pairs: Sequence[Pair]) -> None:
    """Refuse a reference that is itself none: two grey pictures match, and that says nothing.

    Raises:
        RecipeError: An answer of the source is degenerate, all of them are together, or two prompts get the same one.
    """
    task = side.task
    for answer, pair in zip(side.answers.given, pairs, strict=True):
        if fault := answer.fault or task.medium.fault(pair.reference, pair.reference):
            raise _degenerate(f"{task.called(pair.prompt, pair.seed)} is {fault}.", side)
    if lost := task.medium.lost(pairs):
        raise _degenerate(lost, side)
    exact = _exact_twins(task, pairs)
    if exact:
        (first, second), noun = exact, task.medium.noun
        seed = f" with seed {first.seed}" if task.seeded else ""
        raise _degenerate(f"The prompts {first.prompt!r} and {second.prompt!r} give the same {noun}{seed}.", side)


def _twins(task: Task, answers: Sequence[Any], pairs: Sequence[Pair]) -> Mapping[int, int]:
    """Return for answers that look like an earlier one of another prompt and the same seed the index of that one."""
    small = [task.medium.sketch(answer) for answer in answers]
    found: dict[int, int] = {}
    for index, pair in enumerate(pairs):
        for before in range(index):
            other = pairs[before]
            apart = other.seed == pair.seed and other.index != pair.index and not _ask_the_same(task, pair, other)
            if apart and _alike(small[index], small[before], task.medium.alike):
                found[index] = before
                break
    return found


def _alike(one: Any, other: Any, within: float) -> bool:
    return bool(one.shape == other.shape and abs(one - other).mean() < within)


def _exact_twins(task: Task, pairs: Sequence[Pair]) -> tuple[Pair, Pair] | None:
    """Return the first two prompts that have the very same answer of the source for the same seed."""
    seen: dict[tuple[int, bytes], Pair] = {}
    for pair in pairs:
        other = seen.setdefault((pair.seed, task.medium.content(pair.reference)), pair)
        if other.index != pair.index and not _ask_the_same(task, pair, other):
            return other, pair
    return None


def _ask_the_same(task: Task, one: Pair, other: Pair) -> bool:
    """Tell whether two questions have the same right answer, such as two clips in which nothing is said."""
    return task.exact and one.label is not None and one.label == other.label


def _degenerate(what: str, side: Side) -> RecipeError:
    return RecipeError(
        f"The source's own answers are degenerate, so nothing can be judged against them. {what}",
        where=str(side.folder),
        remedy=f"Look at the {side.task.medium.noun}s; correct the prompts, the arguments of the call, the dtype or "
        "the source.",
    )

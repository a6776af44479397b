"""Lost: runs of values whose scale is next to zero, where the base or the codes say that something was there."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from pipeline.lint.decoding import as_floats
from pipeline.lint.faults import Fault
from pipeline.lint.formats.protocol import Floats, Held, Weight
from pipeline.lint.pass_over import (
    SLIGHT,
    Counterpart,
    Tally,
    beside,
    comparable,
    decoded,
    near_zero,
    parts_held,
    spans,
    widened,
)
from pipeline.lint.subject import Subject

if TYPE_CHECKING:
    from numpy.typing import NDArray

HALF: Final = 0.5  # of the squares of a run, from which on nothing of it is left, as of a row
NORMAL: Final = np.finfo(np.float32).tiny  # what is smaller is zero or denormal
AGAIN: Final = "Make it again."
COMPARE: Final = "Compare it with its base."


def lost(subject: Subject, tally: Tally, counterpart: Counterpart | None) -> Iterator[Fault]:
    """Yield the fault of runs that a scale next to zero takes from a weight.

    Against a base these are the runs that it needs, as rows are judged. Without one they are those whose codes differ:
    where everything is zero by right, all codes are alike.
    """
    weight = tally.weight
    if not tally.faint or tally.ruined or weight.decode is None:
        return
    role, part = next((role, part) for role, part in weight.parts.items() if part.run)
    held = parts_held(subject, weight, Tally(weight))
    scales = as_floats(held[role], part.read_as or subject.tensors[part.name].dtype)
    shape = comparable(weight, counterpart)
    faint = near_zero(scales) if shape else np.abs(scales) < NORMAL
    runs = np.flatnonzero(part.laid(faint) if part.laid else faint)
    what = f"of {weight.size // part.run} are zero or next to it, and"
    if counterpart and shape:
        needed = SLIGHT * part.run * tally.signal / weight.size
        count = 0
        for at, ours, numbers in around(subject, weight, held, part.run, runs):
            values = widened(beside(counterpart, at, at + ours.size, shape))
            theirs = in_runs(values, part.run)[numbers].astype(np.float64)
            signal = np.square(theirs).sum(1)
            noise = np.square(in_runs(ours, part.run)[numbers] - theirs).sum(1)
            count += int(np.count_nonzero((noise > HALF * signal) & (signal > needed)))
        if count:
            yield subject.fault("scale-damaged", part.name, f"{count} {what} the base has values there.", AGAIN)
        return
    like = held[role].reshape(-1)[np.argmax(np.abs(scales))]
    lit = {**held, role: np.where(np.abs(scales) < NORMAL, like, held[role])}
    tiles = around(subject, weight, lit, part.run, runs)
    if count := sum(differing(in_runs(values, part.run)[numbers]) for _, values, numbers in tiles):
        text = f"{count} {what} their codes differ: what these stood for is lost."
        yield subject.fault("scale-damaged", part.name, text, COMPARE, "warning")


def around(
    subject: Subject, weight: Weight, held: Held, run: int, runs: NDArray[Any]
) -> Iterator[tuple[int, Floats, NDArray[Any]]]:
    """Yield the values around some runs in order: the place of the first, the values, and which runs of these they are.

    Args:
        subject: The model.
        weight: Its weight, which can be decoded.
        held: The weight's other parts.
        run: Values of a run.
        runs: Those that are wanted, in order, by their numbers.
    """
    places = runs * run
    for first, last in spans(weight, 0):
        inside = places[(first <= places) & (places < last)]
        if not inside.size:
            continue
        begin, end = inside[0] // weight.unit * weight.unit, (inside[-1] // weight.unit + 1) * weight.unit
        for at, values in decoded(subject, weight, held, (int(begin), min(int(end), last)), 0):
            here = inside[(at <= inside) & (inside < at + values.size)]
            if here.size:
                yield at, values, (here - at) // run


def in_runs(values: Floats, run: int) -> Floats:
    """Return values with a run a row, the last one filled up with its last value."""
    return np.pad(values, (0, -values.size % run), mode="edge").reshape(-1, run)


def differing(runs: Floats) -> int:
    """Return in how many runs not all values are alike."""
    return int(np.count_nonzero((runs != runs[:, :1]).any(1)))

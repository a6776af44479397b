"""One chart of targets: quality against a cost, with what no other target beats, as lengths that SVG draws."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from math import ceil, floor, log10
from typing import Literal, NamedTuple

from pipeline.validate.page.numbers import number
from pipeline.validate.report import Finding, Interval, Verdict

WIDTH, HEIGHT = 400, 270  # of a chart, in units of its own
LEFT, RIGHT, TOP, BOTTOM = 58, 384, 22, 226  # between which points lie
LETTER, LINE = 6.8, 14  # of a name, in the same units
MARK = 7  # half of a point's mark


@dataclass(frozen=True)
class Seen:
    """A target as a chart sees it."""

    target: str
    verdict: Verdict
    this: bool
    paid: float
    quality: Interval


@dataclass(frozen=True)
class Axis:
    """Values from ``low`` to ``high``, drawn from ``begin`` to ``end``."""

    low: float
    high: float
    begin: float
    end: float

    def at(self, value: float) -> float:
        """Return where a value lies."""
        return round(self.begin + (self.end - self.begin) * (value - self.low) / (self.high - self.low), 1)

    @property
    def ticks(self) -> list[float]:
        """Round values, six at most."""
        span = self.high - self.low
        decade = floor(log10(span)) - 1
        sizes = (digit * 10.0**power for power in (decade, decade + 1) for digit in (1, 2, 5))
        step = next(size for size in sizes if span / size <= 5)
        return [step * index for index in range(ceil(self.low / step), floor(self.high / step) + 1)]


class Box(NamedTuple):
    """A rectangle that is taken."""

    left: float
    top: float
    right: float
    bottom: float

    def meets(self, other: Box) -> bool:
        """Whether the two cover a place in common."""
        beside = self.right <= other.left or other.right <= self.left
        return not beside and self.top < other.bottom and other.top < self.bottom


@dataclass(frozen=True)
class Name:
    """Where a target's name is written: its end that is next to the point, as SVG anchors it."""

    x: float
    y: float
    anchor: Literal["start", "end"]

    def box(self, text: str) -> Box:
        """Return the place that it takes."""
        width = LETTER * len(text)
        left = self.x if self.anchor == "start" else self.x - width
        return Box(left, self.y - LINE + 3, left + width, self.y + 3)


@dataclass(frozen=True)
class Point:
    """One target; ``low`` and ``high`` are the ends of its interval."""

    seen: Seen
    x: float
    y: float
    low: float
    high: float
    tells: str

    @property
    def box(self) -> Box:
        """The place that its mark takes."""
        return Box(self.x - MARK, self.y - MARK, self.x + MARK, self.y + MARK)


@dataclass(frozen=True)
class Chart:
    """One metric against one cost; further up and further left is better.

    Attributes:
        points: The targets, each with its name.
        frontier: The line through the targets that no other one beats in both, as the points of a polyline.
        x_ticks: Where costs stand, and how they are written.
        y_ticks: Where values stand, and how they are written.
        limit: Where the recipe's limit lies.
        floor: Where two runs of the source itself lie.
    """

    quality: str
    cost: str
    points: tuple[tuple[Point, Name], ...]
    frontier: str
    x_ticks: tuple[tuple[float, str], ...]
    y_ticks: tuple[tuple[float, str], ...]
    limit: float | None
    floor: float | None


def chart(finding: Finding, quality: str, cost: str, show: Callable[[float], str], seen: Sequence[Seen]) -> Chart:
    """Draw a chart.

    Args:
        finding: The metric, as the target knows it that the page is about.
        quality: How the metric is called.
        cost: How the cost is called.
        show: Returns a cost as text.
        seen: The targets.
    """
    of = "drop" if finding.drop else "value"
    limit = next((judgement.bound for judgement in finding.judgements if judgement.of == of), None)
    lines = [line for line in (limit, finding.floor) if line is not None]
    ends = [end for target in seen for end in (target.quality.low, target.quality.high)]
    upwards = finding.direction == "higher" and not finding.drop
    x = axis([target.paid for target in seen], LEFT, RIGHT)
    y = axis([*ends, *lines], *((BOTTOM, TOP) if upwards else (TOP, BOTTOM)))
    unit = finding.unit

    points = [_point(target, x, y, f"{_tells(target, quality, unit)}; {cost} {show(target.paid)}") for target in seen]
    at = [y.at(line) for line in lines]
    return Chart(
        quality=quality,
        cost=cost,
        points=_named(points, at),
        frontier=_frontier(points),
        x_ticks=tuple((x.at(tick), show(tick)) for tick in x.ticks),
        y_ticks=tuple((y.at(tick), number(tick)) for tick in y.ticks),
        limit=None if limit is None else y.at(limit),
        floor=None if finding.floor is None else y.at(finding.floor),
    )


def axis(values: Sequence[float], begin: float, end: float) -> Axis:
    """Return an axis that holds these values with room on either side."""
    low, high = min(values, default=0.0), max(values, default=1.0)
    room = 0.12 * ((high - low) or abs(high) or 1.0)
    return Axis(low - room, high + room, begin, end)


def _tells(seen: Seen, quality: str, unit: str) -> str:
    found = seen.quality
    between = f"95 % between {number(found.low)} and {number(found.high, unit)}"
    return f"{seen.target} ({seen.verdict}): {quality} {number(found.number, unit)}, {between}"


def _point(seen: Seen, x: Axis, y: Axis, tells: str) -> Point:
    quality = seen.quality
    return Point(seen, x.at(seen.paid), y.at(quality.number), y.at(quality.low), y.at(quality.high), tells)


def _named(points: Sequence[Point], lines: Sequence[float]) -> tuple[tuple[Point, Name], ...]:
    """Write every name beside its point where nothing else stands, else as near as there is room."""
    taken = [point.box for point in points] + [Box(RIGHT - 64, line - LINE, RIGHT, line) for line in lines]
    named = []
    for point in sorted(points, key=lambda point: point.y):
        name = next(
            (name for name in _beside(point) if _is_free(name.box(point.seen.target), taken)),
            Name(point.x, point.y, "start"),
        )
        taken.append(name.box(point.seen.target))
        named.append((point, name))
    return tuple(named)


def _beside(point: Point) -> Iterator[Name]:
    """Return places for a point's name, the nearest first."""
    for step in range(8):
        for line in (point.y - 8 - LINE * step, point.y + 16 + LINE * step):
            yield Name(point.x + MARK, line, "start")
            yield Name(point.x - MARK, line, "end")


def _is_free(box: Box, taken: Sequence[Box]) -> bool:
    inside = box.left >= LEFT and box.right <= WIDTH and box.top >= TOP - LINE and box.bottom <= BOTTOM
    return inside and not any(box.meets(other) for other in taken)


def _frontier(points: Sequence[Point]) -> str:
    """Return the steps from the cheapest target to the best, through those that no other one beats in both."""
    best: list[Point] = []
    for point in sorted(points, key=lambda point: (point.x, point.y)):
        if not best or point.y < best[-1].y:
            best.append(point)
    corners: list[tuple[float, float]] = [(best[0].x, BOTTOM)] if best else []
    for point in best:
        corners += [(point.x, corners[-1][1]), (point.x, point.y)]
    corners += [(RIGHT, corners[-1][1])] if best else []
    return " ".join(f"{x},{y}" for x, y in corners)

"""One chart of targets: quality against a cost, with what no other target beats, as lengths that SVG draws."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from pipeline.validate.page.facts import Cost
from pipeline.validate.page.numbers import Axis, measures, number
from pipeline.validate.report import Interval, Report, Verdict

LEFT, RIGHT, TOP, BOTTOM = 58, 384, 22, 226  # between which points lie, in units of the chart's own
LINE = 14  # of a name, in the same units
BESIDE = 7  # of a point, where its name begins


@dataclass(frozen=True)
class Point:
    """One target; ``low`` and ``high`` are the ends of its interval, and its name ends or begins beside it."""

    target: str
    verdict: Verdict
    this: bool
    x: float
    y: float
    low: float
    high: float
    tells: str

    @property
    def anchor(self) -> Literal["start", "end"]:
        """Which end of the name is next to the point: names are written towards the middle."""
        return "start" if self.x < (LEFT + RIGHT) / 2 else "end"

    @property
    def name_x(self) -> float:
        """Where that end is."""
        return self.x + (BESIDE if self.anchor == "start" else -BESIDE)


@dataclass(frozen=True)
class Chart:
    """One metric against one cost; further up and further left is better.

    Attributes:
        points: The targets, each with the height of its name.
        frontier: The line through the targets that no other one beats in both, as the points of a polyline.
        x_ticks: Where costs stand, and how they are written.
        y_ticks: Where values stand, and how they are written.
        limit: Where the recipe's limit lies.
        floor: Where two runs of the source itself lie.
    """

    cost: str
    points: tuple[tuple[Point, float], ...]
    frontier: str
    x_ticks: tuple[tuple[float, str], ...]
    y_ticks: tuple[tuple[float, str], ...]
    limit: float | None
    floor: float | None


def chart(target: str, judged: Mapping[str, Report], metric: str, title: str, cost: Cost) -> Chart:
    """Draw the targets of which both numbers are known.

    Args:
        target: The target that the page is about, whose limit is drawn.
        judged: It and the others, each with its report.
        metric: The metric.
        title: How it is called.
        cost: What it is drawn against.
    """
    seen: dict[str, tuple[float, Interval]] = {}
    for name, report in judged.items():
        paid, measured = cost.read(report), metric in report.metrics and measures(report.metrics[metric])
        if paid is not None and measured:
            seen[name] = paid, measured
    finding = judged[target].metrics[metric]
    of = "drop" if finding.drop else "value"
    limit = next((judgement.bound for judgement in finding.judgements if judgement.of == of), None)
    shown = [end for _, found in seen.values() for end in (found.low, found.high)]
    shown += [line for line in (limit, finding.floor) if line is not None]
    upwards = finding.direction == "higher" and not finding.drop
    x = Axis.holding([paid for paid, _ in seen.values()], LEFT, RIGHT)
    y = Axis.holding(shown, *((BOTTOM, TOP) if upwards else (TOP, BOTTOM)))

    def point(name: str) -> Point:
        (paid, found), verdict = seen[name], judged[name].verdict
        between = f"95 % between {number(found.low)} and {number(found.high, finding.unit)}"
        quality = f"{name} ({verdict}): {title} {number(found.number, finding.unit)}, {between}"
        ends = y.at(found.number), y.at(found.low), y.at(found.high)
        return Point(name, verdict, name == target, x.at(paid), *ends, f"{quality}; {cost.name} {cost.show(paid)}")

    points = sorted(map(point, seen), key=lambda point: point.y)
    return Chart(
        cost=cost.name,
        points=_named(points),
        frontier=_frontier(points),
        x_ticks=tuple((x.at(tick), cost.show(tick)) for tick in x.ticks),
        y_ticks=tuple((y.at(tick), number(tick)) for tick in y.ticks),
        limit=None if limit is None else y.at(limit),
        floor=None if finding.floor is None else y.at(finding.floor),
    )


def _named(points: Sequence[Point]) -> tuple[tuple[Point, float], ...]:
    """Write every name above its point, or as far below as no two names stand on one line and all are inside."""
    named: list[tuple[Point, float]] = []
    free = float(TOP)
    for below, point in zip(reversed(range(len(points))), points, strict=True):
        height = min(max(point.y - BESIDE, free), BOTTOM - LINE * below)
        named.append((point, height))
        free = height + LINE
    return tuple(named)


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

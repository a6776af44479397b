"""The metrics as rows of a table: each number with its interval, and each limit as a strip that can be looked at."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from pipeline.files import human_size
from pipeline.tasks import TASKS
from pipeline.validate.limits import amount
from pipeline.validate.report import Finding, Interval, LimitResult, Report, Statistic

NOTHING = "\u2013"  # stands where there is no number
MARGIN = 0.12  # of a strip's width, on either side of what it shows


def number(value: float | None, unit: str = "") -> str:
    """Return a number of four digits and its unit, with a minus that is as wide as a plus; a dash for none."""
    if value is None:
        return NOTHING
    return human_size(value) if unit == "bytes" else amount(value, unit).replace("-", "\u2212")


def is_cost(finding: Finding) -> bool:
    """Tell whether a metric is of what a model costs, and not of what it answers."""
    return finding.ratio is not None


@dataclass(frozen=True)
class Strip:
    """Where a number, its interval, its limit and the noise floor lie beside each other, in percent from the left.

    Attributes:
        point: The number.
        low: The lower end of its interval.
        high: The upper end.
        bound: The limit.
        floor: The noise floor.
        passes: Begin and width of what passes.
    """

    point: float
    low: float
    high: float
    bound: float
    floor: float | None
    passes: tuple[float, float]


@dataclass(frozen=True)
class Row:
    """One limit of one metric, or a metric without limits.

    Attributes:
        name: The metric.
        finding: All that is known of it.
        of: What the limit is on.
        found: That number and its interval.
        judgement: The limit; none where nothing is required.
    """

    name: str
    finding: Finding
    of: Statistic
    found: Interval
    judgement: LimitResult | None

    @property
    def unit(self) -> str:
        """The unit of what the limit is on."""
        return "" if self.of == "ratio" else self.finding.unit

    @property
    def change(self) -> Interval | None:
        """How the candidate compares to the source's own, where the metric looks at one side at a time."""
        return self.finding.drop or self.finding.ratio

    @property
    def change_of(self) -> Literal["drop", "ratio"]:
        """What of the two the change is."""
        return "drop" if self.finding.drop else "ratio"

    @property
    def change_unit(self) -> str:
        """The unit of the change."""
        return self.finding.unit if self.finding.drop else ""

    @property
    def visible(self) -> float | None:
        """Half the interval's width: about the least difference that a sample of this size shows."""
        of_mean = self.finding.interval and not self.of.startswith("worst")
        return (self.found.high - self.found.low) / 2 if of_mean else None

    @property
    def strip(self) -> Strip | None:
        """The limit as a strip."""
        return strip(self.judgement) if self.judgement else None


def in_order(report: Report) -> dict[str, Finding]:
    """Return the metrics in the order in which the program knows them; JSON keeps none."""
    known = list(TASKS[report.task].metrics)
    place = {name: known.index(name) if name in known else len(known) for name in report.metrics}
    return dict(sorted(report.metrics.items(), key=lambda item: place[item[0]]))


def rows(report: Report) -> list[Row]:
    """Return the table's rows: what fails first, then what is open, then what holds, then what is not required."""
    found = [row for name, finding in in_order(report).items() for row in _rows(name, finding)]
    order = ("FAIL", "INCONCLUSIVE", "PASS")
    return sorted(found, key=lambda row: order.index(row.judgement.verdict) if row.judgement else len(order))


def _rows(name: str, finding: Finding) -> list[Row]:
    if finding.judgements:
        return [Row(name, finding, judgement.of, judgement.found, judgement) for judgement in finding.judgements]
    value = finding.interval or Interval(number=finding.value, low=finding.value, high=finding.value)
    if finding.drop:
        return [Row(name, finding, "drop", finding.drop, None)]
    return [
        Row(name, finding, "ratio", finding.ratio, None) if finding.ratio else Row(name, finding, "value", value, None)
    ]


def strip(judgement: LimitResult) -> Strip:
    """Lay out a limit on a line that just holds all there is to see."""
    found, floor = judgement.found, judgement.floor
    all_there = [found.low, found.high, judgement.bound, *([] if floor is None else [floor])]
    least, most = min(all_there), max(all_there)
    width = (most - least) or abs(most) or 1.0

    def place(value: float) -> float:
        return round(100 * (MARGIN + (1 - 2 * MARGIN) * (value - least) / width), 2)

    bound = place(judgement.bound)
    passes = (bound, round(100 - bound, 2)) if judgement.kind == "min" else (0.0, bound)
    return Strip(
        point=place(found.number),
        low=place(found.low),
        high=place(found.high),
        bound=bound,
        floor=None if floor is None else place(floor),
        passes=passes,
    )

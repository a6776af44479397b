"""The metrics as rows of a table: each number with its interval, and each limit as a strip that can be looked at."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, floor, log10

from pipeline.files import human_size
from pipeline.tasks import TASKS
from pipeline.validate.limits import amount
from pipeline.validate.report import Finding, Interval, LimitResult, Report, Statistic

NOTHING = "\u2013"  # stands where there is no number


def number(value: float | None, unit: str = "") -> str:
    """Return a number of four digits and its unit, with a minus that is as wide as a plus; a dash for none."""
    if value is None:
        return NOTHING
    return human_size(value) if unit == "bytes" else amount(value, unit).replace("-", "\u2212")


def is_cost(finding: Finding) -> bool:
    """Tell whether a metric is of what a model costs, and not of what it answers."""
    return finding.ratio is not None


def measures(finding: Finding) -> Interval | None:
    """Return the number of a metric that tells quality: the paired drop where there is one; none of what is a cost."""
    return None if is_cost(finding) else finding.drop or finding.interval


@dataclass(frozen=True)
class Axis:
    """Values from ``low`` to ``high``, drawn from ``begin`` to ``end``."""

    low: float
    high: float
    begin: float
    end: float

    @classmethod
    def holding(cls, values: Sequence[float], begin: float, end: float) -> Axis:
        """Return an axis that holds these values with room on either side."""
        low, high = min(values, default=0.0), max(values, default=1.0)
        room = 0.12 * ((high - low) or abs(high) or 1.0)
        return cls(low - room, high + room, begin, end)

    def at(self, value: float) -> float:
        """Return where a value lies."""
        return round(self.begin + (self.end - self.begin) * (value - self.low) / (self.high - self.low), 2)

    @property
    def ticks(self) -> list[float]:
        """Round values, six at most."""
        span = self.high - self.low
        decade = floor(log10(span)) - 1
        sizes = (digit * 10.0**power for power in (decade, decade + 1) for digit in (1, 2, 5))
        step = next(size for size in sizes if span / size <= 5)
        return [step * index for index in range(ceil(self.low / step), floor(self.high / step) + 1)]


@dataclass(frozen=True)
class Strip:
    """Where a number, its interval, its limit and the noise floor lie beside each other, in percent from the left.

    Attributes:
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
    judgement: LimitResult | None = None

    @property
    def unit(self) -> str:
        """The unit of what the limit is on."""
        return "" if self.of == "ratio" else self.finding.unit

    @property
    def change(self) -> Interval | None:
        """How the candidate compares to the source's own, where the metric looks at one side at a time."""
        return self.finding.drop or self.finding.ratio

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
        """The limit on a line that just holds all there is to see."""
        if self.judgement is None:
            return None
        limit, found = self.judgement, self.judgement.found
        shown = [found.low, found.high, limit.bound, *([] if limit.floor is None else [limit.floor])]
        at = Axis.holding(shown, 0, 100).at
        bound, floor = at(limit.bound), None if limit.floor is None else at(limit.floor)
        passes = (bound, round(100 - bound, 2)) if limit.kind == "min" else (0.0, bound)
        return Strip(at(found.number), at(found.low), at(found.high), bound, floor, passes)


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
    if finding.drop:
        return [Row(name, finding, "drop", finding.drop)]
    if finding.ratio:
        return [Row(name, finding, "ratio", finding.ratio)]
    value = finding.interval or Interval(number=finding.value, low=finding.value, high=finding.value)
    return [Row(name, finding, "value", value)]

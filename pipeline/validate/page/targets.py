"""The recipe's targets beside each other: what each costs, and how good each is for that."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from pipeline.files import human_size
from pipeline.validate.page.charts import Chart, Seen, chart
from pipeline.validate.page.facts import memory_of, seconds_of
from pipeline.validate.page.numbers import NOTHING, in_order, is_cost, number
from pipeline.validate.report import Finding, Interval, Report


@dataclass(frozen=True)
class Cost:
    """What is paid for a target.

    Attributes:
        read: Returns it from a report; none where it is not known.
        show: Returns it as text.
    """

    read: Callable[[Report], float | None]
    show: Callable[[float], str]

    def told(self, report: Report) -> str:
        """Return it as text, a dash where it is not known."""
        value = self.read(report)
        return NOTHING if value is None else self.show(value)


COSTS: Final[Mapping[str, Cost]] = {
    "size": Cost(lambda report: report.sizes.result if report.sizes else None, human_size),
    "seconds per call": Cost(lambda report: seconds_of(report.candidate), lambda value: number(value, "s")),
    "peak memory": Cost(lambda report: memory_of(report.candidate), human_size),
}


@dataclass(frozen=True)
class Standing:
    """One target as a row of the table.

    Attributes:
        costs: What it costs, as a number to sort by and as text.
        qualities: How good it is, the same way; none where that was not measured.
    """

    target: str
    report: Report
    costs: dict[str, tuple[float | None, str]]
    qualities: dict[str, tuple[float, str] | None]


def standings(target: str, judged: Mapping[str, Report]) -> list[Standing]:
    """Return every target with what it costs and how good it is.

    Args:
        target: The target that the page is about; the metrics are its own.
        judged: It and the others, each with its report.
    """
    names = telling(judged[target])
    return [
        Standing(
            name,
            report,
            {title: (cost.read(report), cost.told(report)) for title, cost in COSTS.items()},
            {title: _quality(report, metric) for title, metric in names.items()},
        )
        for name, report in judged.items()
    ]


def charts(target: str, judged: Mapping[str, Report]) -> dict[str, list[Chart]]:
    """Return, for each metric that tells quality, a chart against each cost.

    Args:
        target: The target that the page is about.
        judged: It and the others, each with its report.
    """
    return {
        title: [
            chart(judged[target].metrics[metric], title, name, cost.show, _seen(target, judged, metric, cost))
            for name, cost in COSTS.items()
        ]
        for title, metric in telling(judged[target]).items()
    }


def telling(report: Report) -> dict[str, str]:
    """Return the metrics that tell quality by how they are called; the required ones first."""
    found = [name for name, finding in in_order(report).items() if measures(finding)]
    found.sort(key=lambda name: not report.metrics[name].judgements)
    return {f"{name}, drop" if report.metrics[name].drop else name: name for name in found}


def measures(finding: Finding) -> Interval | None:
    """Return the number of a metric that tells quality: the paired drop where there is one; none of what is a cost."""
    return None if is_cost(finding) else finding.drop or finding.interval


def _quality(report: Report, metric: str) -> tuple[float, str] | None:
    found = measures(report.metrics[metric]) if metric in report.metrics else None
    return (found.number, number(found.number, report.metrics[metric].unit)) if found else None


def _seen(target: str, judged: Mapping[str, Report], metric: str, cost: Cost) -> list[Seen]:
    """Return the targets of which both numbers are known."""
    known = ((name, report, cost.read(report), report.metrics.get(metric)) for name, report in judged.items())
    return [
        Seen(name, report.verdict, name == target, paid, measured)
        for name, report, paid, finding in known
        if paid is not None and finding and (measured := measures(finding))
    ]

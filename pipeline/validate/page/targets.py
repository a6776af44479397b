"""The recipe's targets beside each other: what each costs, and how good each is for that."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from pipeline.validate.page.charts import Chart, chart
from pipeline.validate.page.facts import COSTS
from pipeline.validate.page.numbers import NOTHING, in_order, measures, number
from pipeline.validate.report import Report


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
            {cost.name: _paid(cost.read(report), cost.show) for cost in COSTS},
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
        title: [chart(target, judged, metric, title, cost) for cost in COSTS]
        for title, metric in telling(judged[target]).items()
    }


def telling(report: Report) -> dict[str, str]:
    """Return the metrics that tell quality by how they are called; the required ones first."""
    found = [name for name, finding in in_order(report).items() if measures(finding)]
    found.sort(key=lambda name: not report.metrics[name].judgements)
    return {f"{name}, {report.metrics[name].change}" if report.metrics[name].drop else name: name for name in found}


def _paid(value: float | None, show: Callable[[float], str]) -> tuple[float | None, str]:
    return value, NOTHING if value is None else show(value)


def _quality(report: Report, metric: str) -> tuple[float, str] | None:
    found = measures(report.metrics[metric]) if metric in report.metrics else None
    return (found.number, number(found.number, report.metrics[metric].unit)) if found else None

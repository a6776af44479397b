"""What a target costs, and how both sides answered, as rows of source and candidate."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from statistics import median
from typing import Final

from pipeline.files import human_size
from pipeline.tasks.answers import Facts
from pipeline.validate.page.numbers import NOTHING, number
from pipeline.validate.report import Report


@dataclass(frozen=True)
class Both:
    """One fact of the source and of the candidate."""

    name: str
    source: str
    candidate: str

    @property
    def differs(self) -> bool:
        """Whether the two are not the same."""
        return self.source != self.candidate


def seconds_of(facts: Facts) -> float:
    """Return the median seconds of a call; the first one, which includes warming up, only where there is no other."""
    return median(facts.seconds_per_call[1:] or facts.seconds_per_call)


def memory_of(facts: Facts) -> int:
    """Return the bytes that decide what it fits on: of the GPU, where there is one."""
    return facts.peak_memory_bytes if facts.peak_device_bytes is None else facts.peak_device_bytes


@dataclass(frozen=True)
class Cost:
    """What is paid for a target.

    Attributes:
        read: Returns it from a report; none where it is not known.
        show: Returns it as text.
    """

    name: str
    read: Callable[[Report], float | None]
    show: Callable[[float], str]


COSTS: Final = (
    Cost("size", lambda report: report.sizes.result if report.sizes else None, human_size),
    Cost("seconds per call", lambda report: seconds_of(report.candidate), lambda value: number(value, "s")),
    Cost("peak memory", lambda report: memory_of(report.candidate), human_size),
)


def answered(report: Report) -> list[Both]:
    """Return how the two sides answered."""
    sides = [_facts(report.reference), _facts(report.candidate)]
    if report.sizes:
        sides[0]["Files"], sides[1]["Files"] = human_size(report.sizes.source), human_size(report.sizes.result)
    return [Both(name, sides[0][name], sides[1][name]) for name in sides[0]]


def versions(report: Report) -> list[Both]:
    """Return the versions of what took part on either side."""
    source, candidate = report.reference.versions, report.candidate.versions
    return [
        Both(name, source.get(name, NOTHING), candidate.get(name, NOTHING)) for name in sorted({*source, *candidate})
    ]


def _facts(facts: Facts) -> dict[str, str]:
    device = NOTHING if facts.peak_device_bytes is None else human_size(facts.peak_device_bytes)
    return {
        "Loaded": facts.how,
        "Machine": facts.machine,
        "Load time": number(facts.load_seconds, "s"),
        "First call": number(facts.seconds_per_call[0], "s"),
        "Other calls, median": number(seconds_of(facts), "s"),
        "Peak memory, host": human_size(facts.peak_memory_bytes),
        "Peak memory, device": device,
    }

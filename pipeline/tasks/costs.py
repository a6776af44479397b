"""What a model costs its users: bytes to download, seconds, memory.

Seconds and memory are reported and decide nothing: both sides are measured once, one after the other, and what else the
machine did meanwhile is in the numbers; no number of prompts would take it out.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import inf
from statistics import mean
from typing import Literal

from pipeline.errors import CannotHereError
from pipeline.tasks.answers import Facts
from pipeline.tasks.metrics import Measured, Metric, MetricInput, Sizes


@dataclass(frozen=True)
class SizeRatio:
    """Bytes of the result divided by bytes of the source."""

    unit: str = ""
    direction: Literal["higher", "lower"] = "lower"
    span: None = None
    ends: tuple[float, float] = (0.0, inf)
    tail: None = None

    def lacks(self, given: MetricInput) -> str:
        """Sizes are counted by the caller, who knows which files a consumer downloads."""
        return "" if given.sizes else "the sizes of source and result"

    def measure(self, given: MetricInput) -> Measured:
        """Divide."""
        sizes = given.sizes or Sizes(source=1, result=0)
        return Measured(sizes.result / sizes.source)


@dataclass(frozen=True)
class Once:
    """What each side's process measured of itself once; there is no telling how another one would come out.

    Attributes:
        unit: Of the number.
        of: Takes it from what a side says of itself.
        direction: Less is better.
        span: It is no share.
        ends: It has no greatest value.
        tail: It is no mean.
    """

    unit: str
    of: Callable[[Facts], float | None]
    direction: Literal["higher", "lower"] = "lower"
    span: None = None
    ends: tuple[float, float] = (0.0, inf)
    tail: None = None

    def lacks(self, given: MetricInput) -> str:
        """Machines are not compared with each other."""
        return _lacks_facts(given)

    def measure(self, given: MetricInput) -> Measured:
        """Take both sides' numbers.

        Raises:
            CannotHereError: They have none without a GPU.
        """
        reference, candidate = (self.of(side) for side in given.facts or ())
        if reference is None or candidate is None:
            what = "Memory of a device is counted where torch runs on a GPU, and here it does not."
            raise CannotHereError(what, remedy="Validate on a machine with a GPU.")
        return Measured(candidate, reference)


@dataclass(frozen=True)
class Latency:
    """Seconds of a call, one answer each: the mean, which is what many answers cost, slow calls included.

    The very first call of each side includes warming up and says nothing.
    """

    unit: str = "s"
    direction: Literal["higher", "lower"] = "lower"
    span: None = None
    ends: tuple[float, float] = (0.0, inf)
    tail: None = None

    def lacks(self, given: MetricInput) -> str:
        """A first call alone says nothing."""
        return _lacks_facts(given) or ("" if len(given.pairs) > 1 else "a second answer, for the first one warms up")

    def measure(self, given: MetricInput) -> Measured:
        """Take the means of both sides' seconds."""
        reference, candidate = (mean(side.seconds_per_call[1:]) for side in given.facts or ())
        return Measured(candidate, reference)


def _lacks_facts(given: MetricInput) -> str:
    if given.facts is None:
        return "what both sides measured of themselves"
    places = list(dict.fromkeys(side.machine for side in given.facts))
    return "" if len(places) == 1 else f"both sides on one machine, not on {' and '.join(places)}"


COSTS: dict[str, Metric] = {
    "size_ratio": SizeRatio(),
    "load_time": Once("s", lambda side: side.load_seconds),
    "latency": Latency(),
    "peak_memory": Once("bytes", lambda side: side.peak_memory_bytes),
    "peak_device_memory": Once("bytes", lambda side: side.peak_device_bytes),
}
"""What is known of every model, by the metrics' names."""

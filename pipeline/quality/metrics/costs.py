"""What a pipeline costs its users: bytes to download, seconds, memory."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from pipeline.errors import CannotHereError
from pipeline.quality.answers import Facts
from pipeline.quality.metrics.protocol import Given, Measured, Reading, Sizes


@dataclass(frozen=True)
class SizeRatio:
    """Bytes of the result divided by bytes of the source."""

    unit: str = ""
    direction: Literal["higher", "lower"] = "lower"
    span: None = None

    def lacks(self, given: Given) -> str:
        """Sizes are counted by the caller, who knows which files a consumer downloads."""
        return "" if given.sizes else "the sizes of source and result"

    def measure(self, given: Given) -> Measured:
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
    """

    unit: str
    of: Callable[[Facts], float | None]
    direction: Literal["higher", "lower"] = "lower"
    span: None = None

    def lacks(self, given: Given) -> str:
        """Machines are not compared with each other."""
        return _lacks_facts(given)

    def measure(self, given: Given) -> Measured:
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
    """Seconds of a call, one picture each.

    The mean and not the median: it is what many pictures cost, slow calls included, and it is a mean that has an
    interval over prompts. The very first call of each side includes warming up and says nothing.
    """

    unit: str = "s"
    direction: Literal["higher", "lower"] = "lower"
    span: None = None

    def lacks(self, given: Given) -> str:
        """A first call alone says nothing."""
        return _lacks_facts(given) or ("" if len(given.pairs) > 1 else "a second picture, for the first one warms up")

    def measure(self, given: Given) -> Measured:
        """Pair both sides' seconds; the mean is over prompts, each with all its seeds."""
        reference, candidate = (side.seconds_per_call for side in given.facts or ())
        pairs = [Reading(*both) for both in zip(candidate, reference, strict=True)]
        prompts = [pair.index for pair in given.pairs]
        value = _mean_of_prompts(prompts[1:], candidate[1:])
        return Measured(value, _mean_of_prompts(prompts[1:], reference[1:]), (None, *pairs[1:]))


def _mean_of_prompts(prompts: Sequence[int], seconds: Sequence[float]) -> float:
    """Return the mean over prompts of the mean over each one's seeds; the first prompt has a seed less."""
    by_prompt: dict[int, list[float]] = {}
    for prompt, one in zip(prompts, seconds, strict=True):
        by_prompt.setdefault(prompt, []).append(one)
    return sum(sum(own) / len(own) for own in by_prompt.values()) / len(by_prompt)


def _lacks_facts(given: Given) -> str:
    if given.facts is None:
        return "what both sides measured of themselves"
    devices = [side.device for side in given.facts]
    return "" if len(set(devices)) == 1 else f"both sides on one device, not on {' and '.join(devices)}"


SIZE_RATIO = SizeRatio()
LOAD_TIME = Once("s", lambda side: side.load_seconds)
LATENCY = Latency()
PEAK_MEMORY = Once("bytes", lambda side: side.peak_memory_bytes)
PEAK_DEVICE_MEMORY = Once("bytes", lambda side: side.peak_device_bytes)

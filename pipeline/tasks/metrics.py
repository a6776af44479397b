"""What a metric is: what it is given, what it says of a pair of answers, and how it is asked."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from math import inf, sqrt
from pathlib import Path
from typing import Any, Literal, Protocol

from pydantic import BaseModel, ConfigDict, Field

from pipeline.recipe.require import Requirements
from pipeline.tasks.answers import Facts


@dataclass(frozen=True)
class Pair:
    """The source's and the candidate's answer to the same question and seed, as their medium opens them.

    Attributes:
        index: Number of the question in the request.
        prompt: Its text.
        label: What its answer must show, if the prompts say.
        seed: The seed of both.
        reference: The source's answer.
        candidate: The candidate's answer.
        besides: Further files of both sides by what they hold, where both kept them, such as ``latents``.
    """

    index: int
    prompt: str
    label: str | None
    seed: int
    reference: Any
    candidate: Any
    besides: Mapping[str, tuple[Path, Path]] = field(default_factory=dict)


class Sizes(BaseModel):
    """Bytes of the source's files that a consumer downloads, and of the candidate's."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    source: int = Field(gt=0)
    result: int = Field(ge=0)


@dataclass(frozen=True)
class MetricInput:
    """All that a metric may need.

    Attributes:
        pairs: The answers.
        sizes: Bytes of source and result, if known.
        facts: How the source and how the candidate answered, where that was measured side by side.
        judges: Folders of the models that judge, by metric.
    """

    pairs: tuple[Pair, ...]
    sizes: Sizes | None = None
    facts: tuple[Facts, Facts] | None = None
    judges: Mapping[str, Path] = field(default_factory=dict)


@dataclass(frozen=True)
class Reading:
    """One value of the candidate, and the source's own where the metric looks at one side at a time."""

    value: float
    reference: float | None = None


@dataclass(frozen=True)
class Measured:
    """A metric's result: over all pairs, and pair by pair where there are pairs behind it.

    Attributes:
        value: The candidate's.
        reference: The source's own, where the metric looks at one side at a time.
        readings: One for each pair in their order.
    """

    value: float
    reference: float | None = None
    readings: tuple[Reading, ...] = ()


class Metric(Protocol):
    """What the verdict asks of a metric."""

    @property
    def unit(self) -> str: ...  # noqa: D102 - the unit of its values, empty for plain ratios
    @property
    def direction(self) -> Literal["higher", "lower"]: ...  # noqa: D102 - which way is better
    @property
    def span(self) -> tuple[float, float] | None: ...  # noqa: D102 - of values that are shares of yes and no
    @property
    def ends(self) -> tuple[float, float]: ...  # noqa: D102 - the least and the greatest value that there can be
    @property
    def tail(self) -> Callable[[float], float] | None: ...  # noqa: D102 - a mean's bound to that of the worst answer

    def lacks(self, given: MetricInput) -> str:
        """Return what is missing to measure it, as the end of the sentence "it needs ..."; empty if nothing is."""
        ...

    def measure(self, given: MetricInput) -> Measured:
        """Measure it; everything it needs is given.

        Raises:
            CannotHereError: A library is missing.
        """
        ...


@dataclass(frozen=True)
class PairMetric:
    """A metric that reads pair by pair and is the mean of its readings.

    Attributes:
        unit: Of its values.
        direction: Which way is better.
        read: Reads the pairs that are given, in their order.
        lacks: See ``Metric``.
        span: Least and greatest value where each reading is one of the two, yes or no; a few of them that all say yes
            do not prove that none says no, and the interval must know.
        ends: Least and greatest value that there can be; no interval reaches beyond.
        tail: Turns the bound of a mean into that of the worst answer, where a recipe does not say one itself.
    """

    unit: str
    direction: Literal["higher", "lower"]
    read: Callable[[MetricInput], Sequence[Reading]]
    lacks: Callable[[MetricInput], str] = lambda _: ""
    span: tuple[float, float] | None = None
    ends: tuple[float, float] = (-inf, inf)
    tail: Callable[[float], float] | None = None

    def measure(self, given: MetricInput) -> Measured:
        """Read every pair and take the means."""
        readings = tuple(self.read(given))
        own = [reading.reference for reading in readings if reading.reference is not None]
        value = sum(reading.value for reading in readings) / len(readings)
        return Measured(value, sum(own) / len(own) if own else None, readings)


def metrics_of(require: type[Requirements]) -> dict[str, Metric]:
    """Return what measures each requirement, which stands beside the form of its field in ``Annotated``."""
    return {name: metric for name, field in require.model_fields.items() for metric in field.metadata}


def half_the_decibels(bound: float) -> float:
    """Return what the worst answer must reach where the mean must reach so many decibels."""
    return bound / 2


def least_likeness(bound: float) -> float:
    """Return what the worst answer must reach where the mean likeness must reach a bound: half of its decibels, too."""
    return 1 - greatest_distance(1 - bound)


def greatest_distance(bound: float) -> float:
    """Return how far the worst answer may be off where the mean may be off by a bound, on a scale where 1 is unlike.

    Half the decibels of a distance are its square root.
    """
    return max(bound, sqrt(bound))

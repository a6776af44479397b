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
    """One value of the candidate, and the source's own where the metric looks at one side at a time.

    Attributes:
        value: The candidate's.
        reference: The source's own.
        weight: How much the pair counts in the mean, such as the words that are said in it; 0 where there was nothing
            to read.
    """

    value: float
    reference: float | None = None
    weight: float = 1.0


@dataclass(frozen=True)
class Measured:
    """A metric's result: over all pairs, and pair by pair where there are pairs behind it.

    Attributes:
        value: The candidate's.
        reference: The source's own, where the metric looks at one side at a time.
        readings: One for each pair in their order.
        shares: The same once more where the value is no plain mean of the readings: linearised, so that their mean is
            the value and their spread is that of the value.
        error: The standard error over what was read in the answers, such as tokens.
    """

    value: float
    reference: float | None = None
    readings: tuple[Reading, ...] = ()
    shares: tuple[Reading, ...] = ()
    error: float | None = None


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
    """A metric that reads pair by pair and is the mean of its readings, by their weights where they have some.

    A weighted mean is a ratio of two sums over pairs, and its interval is that of such a ratio (Cochran, Sampling
    Techniques, 1977, chapter 6).

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
        weighed = [one for one in readings if one.weight]
        total = sum(one.weight for one in weighed)
        value = sum(one.value * one.weight for one in weighed) / total
        own = [one.reference * one.weight for one in weighed if one.reference is not None]
        reference = sum(own) / total if own else None
        if all(one.weight == 1 for one in readings):
            return Measured(value, reference, readings)
        return Measured(
            value, reference, readings, tuple(_share(one, value, reference, total / len(weighed)) for one in readings)
        )


def _share(reading: Reading, value: float, reference: float | None, weight: float) -> Reading:
    """Return what a reading contributes to weighted means, where readings have such a mean weight."""
    by = reading.weight / weight
    own = None if reading.reference is None or reference is None else reference + by * (reading.reference - reference)
    return Reading(value + by * (reading.value - value), own, reading.weight)


@dataclass(frozen=True)
class Parts:
    """What is read in one answer, piece by piece: arrays of shape (pieces,), of the candidate and of the source."""

    values: Any
    reference: Any = None


@dataclass(frozen=True)
class PooledMetric:
    """A metric that reads every answer in pieces, such as its tokens, each of which weighs the same.

    Its value is the mean of all pieces of all answers, which is a ratio of two sums over answers; so its interval is
    that of such a ratio (Cochran, Sampling Techniques, 1977, chapter 6).

    Attributes:
        unit: Of its values.
        direction: Which way is better.
        read: Reads one pair, which has a piece or more.
        geometric: Whether what is read are logarithms, and the value is their geometric mean.
        ends: Least and greatest value that there can be.
        tail: See ``PairMetric``; the worst answer is the one whose own mean is.
        span: Pieces may be yes and no, and answers are more than that.
    """

    unit: str
    direction: Literal["higher", "lower"]
    read: Callable[[Pair], Parts]
    lacks: Callable[[MetricInput], str] = lambda _: ""
    geometric: bool = False
    ends: tuple[float, float] = (-inf, inf)
    tail: Callable[[float], float] | None = None
    span: None = None

    def measure(self, given: MetricInput) -> Measured:
        """Read every pair and take the means over all pieces."""
        import numpy as np

        read = [self.read(pair) for pair in given.pairs]
        mine, pooled, shares = self._means([part.values for part in read])
        error = float(np.std(np.concatenate([part.values for part in read])))
        error *= (pooled if self.geometric else 1.0) / sqrt(max(1, sum(len(part.values) for part in read) - 1))
        if any(part.reference is None for part in read):
            plain, linear = (tuple(map(Reading, values)) for values in (mine, shares))
            return Measured(pooled, None, plain, linear, error)
        own, whole, theirs = self._means([part.reference for part in read])
        both = tuple(map(Reading, mine, own)), tuple(map(Reading, shares, theirs))
        return Measured(pooled, whole, *both, error)

    def _means(self, parts: Sequence[Any]) -> tuple[list[float], float, list[float]]:
        """Return the mean of each answer, of all pieces, and what each answer contributes to the latter."""
        import numpy as np

        sums, counts = (np.array([float(of(part)) for part in parts]) for of in (np.sum, len))
        mean = sums.sum() / counts.sum()
        apart = (sums - mean * counts) / counts.mean()
        means, value = sums / counts, mean
        if self.geometric:
            means, value = np.exp(means), np.exp(mean)
            apart = value * apart
        return means.tolist(), float(value), (value + apart).tolist()


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

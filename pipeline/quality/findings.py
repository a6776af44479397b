"""What the metrics found: each with its interval, the source's own noise, and what the recipe's limits make of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pipeline.errors import CannotHereError, RecipeError
from pipeline.quality.bootstrap import interval, prompts_needed, ratio_interval
from pipeline.quality.limits import Limit
from pipeline.quality.metrics import METRICS, Given, Measured, Metric, Pair, Reading
from pipeline.quality.report import Finding, Interval, Judgement, Of, Verdict, Worst

Limits = Mapping[str, tuple[Limit, ...]]
SHOWN = 3  # worst pairs that a report names for each metric


@dataclass(frozen=True)
class Sample:
    """What one metric read, prompt by prompt.

    Attributes:
        metric: The metric.
        measured: What it measured.
        pairs: The pairs behind it.
        same: Whether all of them are pairs of identical pictures, so that there is no difference to be unsure of.
    """

    metric: Metric
    measured: Measured
    pairs: Sequence[Pair]
    same: bool = False

    @property
    def readings(self) -> list[tuple[Pair, Reading]]:
        """The pairs that say something, with what they say."""
        if not self.measured.readings:
            return []
        return [(pair, one) for pair, one in zip(self.pairs, self.measured.readings, strict=True) if one is not None]

    @property
    def prompts(self) -> int:
        """How many prompts say something; none where the number is no mean."""
        return len({pair.index for pair, _ in self.readings})

    def by_prompt(self, of: str) -> list[float]:
        """Return the mean over the seeds of each prompt, of the candidate's ``value``s or the source's own."""
        found: dict[int, list[float]] = {}
        for pair, reading in self.readings:
            found.setdefault(pair.index, []).append(getattr(reading, of))
        return [sum(values) / len(values) for values in found.values()]

    def numbers(self, of: Of, bound: float = 0.0) -> tuple[list[float], tuple[float, ...]]:
        """Return one number a prompt, and the imagined prompts beside them, whose mean is held against a bound.

        A ratio of means is below a bound where the mean of ``value - bound * reference`` is below 0.
        """
        span = self.metric.span
        if of == "value":
            return self.by_prompt("value"), (span[0], span[0], span[1], span[1]) if span else ()
        both = zip(self.by_prompt("reference"), self.by_prompt("value"), strict=True)
        if of == "ratio":
            return [value - bound * own for own, value in both], ()
        width = span[1] - span[0] if span and not self.same else 0.0
        return [own - value for own, value in both], (width, -width) if width else ()

    def number(self, of: Of) -> Interval | None:
        """Return the candidate's value, its drop from the source's or its ratio to it, each with its interval."""
        measured = self.measured
        if of == "value":
            return interval(*self.numbers(of)) if self.readings else exactly(measured.value)
        if measured.reference is None or (of == "ratio" and not measured.reference):
            return None
        if of == "drop":
            return interval(*self.numbers(of)) if self.readings else exactly(measured.reference - measured.value)
        if self.readings:
            return ratio_interval(self.by_prompt("value"), self.by_prompt("reference"))
        return exactly(measured.value / measured.reference)

    def needed(self, of: Of, bound: float) -> int | None:
        """Return about how many prompts would settle on which side of a bound the number lies."""
        numbers, prior = self.numbers(of, bound)
        return prompts_needed(numbers, 0.0 if of == "ratio" else bound, prior)


def exactly(number: float) -> Interval:
    """Return the interval of a number that is no sample of anything."""
    return Interval(number=number, low=number, high=number)


def measure(given: Given, limits: Limits) -> tuple[dict[str, Measured], dict[str, str]]:
    """Measure what can be, and say of the rest what it lacks; what is required must be measured.

    Raises:
        RecipeError: A requirement cannot be measured on what was given.
        CannotHereError: A required metric needs a library that is missing.
    """
    measured, unmeasured = {}, {}
    for name, metric in METRICS.items():
        lack = metric.lacks(given)
        if lack and name in limits:
            raise RecipeError(f"{name} is required, but it needs {lack}.", where="validation.require")
        if lack:
            unmeasured[name] = f"It needs {lack}."
            continue
        try:
            measured[name] = metric.measure(given)
        except CannotHereError as error:
            if name in limits:
                raise
            unmeasured[name] = str(error)
    return measured, unmeasured


def noise_floors(given: Given, names: Sequence[str]) -> dict[str, float]:
    """Return how much each metric says that two runs of the source itself differ.

    Args:
        given: The source's first answers beside those of its second run.
        names: The metrics.

    Returns:
        For a metric that compares two pictures its value, else the size of the drop; each at the end of its interval
        that lies farther from no difference.
    """
    found = {}
    for name in names if given.pairs else ():
        metric = METRICS[name]
        if metric.lacks(given):
            continue
        sample = Sample(metric, metric.measure(given), given.pairs, same=True)
        drop, value = sample.number("drop"), sample.number("value")
        if sample.readings and value:
            low_is_bad = metric.direction == "higher"
            found[name] = max(abs(drop.low), abs(drop.high)) if drop else value.low if low_is_bad else value.high
    return found


def finding(name: str, sample: Sample, required: Sequence[Limit], floor: float | None) -> Finding:
    """Put together what is known of a metric and hold it against its limits.

    Raises:
        RecipeError: A limit is on something that this metric has not.
    """
    metric, measured = sample.metric, sample.measured
    return Finding(
        value=measured.value,
        interval=sample.number("value") if sample.readings else None,
        reference=measured.reference,
        drop=sample.number("drop") if metric.direction == "higher" else None,
        ratio=sample.number("ratio") if metric.direction == "lower" else None,
        floor=floor,
        unit=metric.unit,
        direction=metric.direction,
        judgements=tuple(judgement(name, sample, limit, floor) for limit in required),
        worst=worst(sample),
    )


def judgement(name: str, sample: Sample, limit: Limit, floor: float | None) -> Judgement:
    """Hold one limit against the interval of what was measured.

    The bound is as far out as the source's own noise: what the source itself does not keep is required of nobody.

    Raises:
        RecipeError: The metric has no such number.
    """
    found = sample.number(limit.of)
    if found is None:
        raise RecipeError(f"{name} compares the two sides and has no {limit.of}.", where="validation.require")
    noise = floor if _has_floor(sample, limit) else None
    bounds = [limit.bound] if noise is None else [limit.bound, noise]
    bound = min(bounds) if limit.kind == "min" else max(bounds)
    verdict = _held_against(found, limit.kind, bound)
    if sample.prompts == 1 and not sample.same:
        verdict = "INCONCLUSIVE"  # a single prompt shows nothing of others
    return Judgement(
        words=limit.words(sample.metric.unit),
        of=limit.of,
        kind=limit.kind,
        bound=limit.bound,
        found=found,
        floor=noise,
        verdict=verdict,
        prompts_needed=sample.needed(limit.of, bound) if verdict == "INCONCLUSIVE" else None,
    )


def _has_floor(sample: Sample, limit: Limit) -> bool:
    """Tell whether the noise floor is of the number that a limit is on."""
    return limit.of == ("value" if sample.measured.reference is None else "drop")


def _held_against(found: Interval, kind: str, bound: float) -> Verdict:
    inside, outside = (found.low >= bound, found.high < bound) if kind == "min" else (
        found.high <= bound, found.low > bound)  # fmt: skip
    return "PASS" if inside else "FAIL" if outside else "INCONCLUSIVE"


def worst(sample: Sample) -> tuple[Worst, ...]:
    """Return the pairs with the largest drop where the source has values of its own, else with the worst values."""
    sign = 1 if sample.metric.direction == "higher" else -1
    ranked = sorted(sample.readings, key=lambda entry: sign * (entry[1].value - (entry[1].reference or 0.0)))
    return tuple(Worst(prompt=pair.index, seed=pair.seed, value=one.value) for pair, one in ranked[:SHOWN])

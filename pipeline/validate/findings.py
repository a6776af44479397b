"""What the metrics found: each with its interval, the source's own noise, and what the recipe's limits make of it."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import mean, median
from typing import Any, Final

from pipeline.errors import CannotHereError, RecipeError
from pipeline.files import counted
from pipeline.tasks import Task
from pipeline.tasks.metrics import Measured, Metric, MetricInput, Pair, PairMetric, PooledMetric, Reading
from pipeline.validate.intervals import FARTHEST, LEAST, interval, prompts_needed
from pipeline.validate.limits import Limit, limits_of
from pipeline.validate.report import Finding, Interval, LimitResult, Statistic, Verdict, Worst, change

Limits = Mapping[str, tuple[Limit, ...]]
MEANS: Final = frozenset({"value", "drop"})  # what a limit may be on that is a mean over prompts
SHOWN = 3  # worst pairs that a report names for each metric


@dataclass(frozen=True)
class Sample:
    """What one metric read, prompt by prompt.

    Attributes:
        metric: The metric.
        measured: What it measured.
        pairs: The pairs behind it.
        same: Whether all of them are pairs of identical answers, so that there is no difference to be unsure of.
    """

    metric: Metric
    measured: Measured
    pairs: Sequence[Pair]
    same: bool = False

    @property
    def readings(self) -> list[tuple[Pair, Reading]]:
        """The pairs with what is read on them, where anything is; none where the number is no mean."""
        return self.on_pairs(self.measured.readings)

    @property
    def shares(self) -> list[tuple[Pair, Reading]]:
        """The pairs with what each contributes to the value: what is read on them, where it is the mean of that."""
        return self.on_pairs(self.measured.shares or self.measured.readings)

    def on_pairs(self, readings: Sequence[Reading]) -> list[tuple[Pair, Reading]]:
        """Return readings with their pairs, without those that weigh nothing."""
        found = zip(self.pairs, readings, strict=True) if readings else ()
        return [(pair, reading) for pair, reading in found if reading.weight]

    @property
    def prompts(self) -> int:
        """How many prompts there are behind the mean."""
        return len({pair.index for pair, _ in self.readings})

    def by_prompt(self, of: str) -> list[float]:
        """Return the mean over the seeds of each prompt, of the candidate's ``value``s or the source's own."""
        found: dict[int, list[float]] = {}
        for pair, reading in self.shares:
            found.setdefault(pair.index, []).append(getattr(reading, of))
        return [sum(values) / len(values) for values in found.values()]

    def numbers(self, of: Statistic) -> tuple[list[float], tuple[float, ...]]:
        """Return one number a prompt, and the imagined prompts beside them, whose mean is held against a bound."""
        if of == "value":
            return self.by_prompt("value"), priors(self.metric.span, of)
        both = zip(self.by_prompt("reference"), self.by_prompt("value"), strict=True)
        return [self.worse(own, value) for own, value in both], () if self.same else priors(self.metric.span, of)

    def worse(self, own: float, value: float) -> float:
        """Return how much worse a value is than the source's own."""
        return own - value if self.metric.direction == "higher" else value - own

    def number(self, of: Statistic) -> Interval | None:
        """Return the candidate's value or its drop from the source's, as a mean with its interval or at the worst.

        None where the metric has no such number.
        """
        one_sided = self.measured.reference is not None
        if (of in {"drop", "worst drop"} and not one_sided) or (not self.readings and of != "value"):
            return None
        if of.startswith("worst"):
            return exactly(self.worst(of))
        if not self.readings:
            return exactly(self.measured.value)
        found = interval(*self.numbers(of))
        return within(found, self.metric.ends) if of == "value" else found

    def worst(self, of: Statistic) -> float:
        """Return the value or the drop of the answer that speaks loudest against the candidate."""
        if of == "worst drop":
            return max(self.worse(one.reference or 0.0, one.value) for _, one in self.readings)
        values = [one.value for _, one in self.readings]
        return min(values) if self.metric.direction == "higher" else max(values)

    @property
    def ratio(self) -> Interval | None:
        """How many times the source's the candidate costs; none where that is no question."""
        value, own = self.measured.value, self.measured.reference
        return exactly(value / own) if own and not self.readings else None


def priors(span: tuple[float, float] | None, of: Statistic) -> tuple[float, ...]:
    """Return the prompts that are imagined beside those that were asked, where answers are yes or no."""
    if not span:
        return ()
    least, most = span
    return (least, least, most, most) if of == "value" else (most - least, least - most)


def within(found: Interval, ends: tuple[float, float]) -> Interval:
    """Return an interval that reaches no farther than values can."""
    return Interval(number=found.number, low=max(found.low, ends[0]), high=min(found.high, ends[1]))


def exactly(number: float) -> Interval:
    """Return the interval of a number that is no sample of anything."""
    return Interval(number=number, low=number, high=number)


def measure(task: Task, given: MetricInput, limits: Limits) -> tuple[dict[str, Measured], dict[str, str]]:
    """Measure what can be, and say of the rest what it lacks; what is required must be measured.

    Raises:
        RecipeError: A requirement cannot be measured on what was given.
        CannotHereError: A required metric needs a library that is missing.
    """
    measured, unmeasured = {}, {}
    for name, metric in task.metrics.items():
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


def noise_floors(task: Task, given: MetricInput, names: Sequence[str]) -> dict[str, float]:
    """Return how much each metric says that two runs of the source itself differ.

    It is told beside what was found of the candidate and moves no limit: a few answers do not know it well enough.

    Args:
        task: Whose metrics they are.
        given: The source's first answers beside those of its second run.
        names: The metrics.

    Returns:
        For a metric that compares two answers its mean, else the size of the mean drop.
    """
    found = {}
    for name in names if given.pairs else ():
        metric = task.metrics[name]
        if metric.lacks(given):
            continue
        sample = Sample(metric, metric.measure(given), given.pairs, same=True)
        if sample.readings:
            one_sided = sample.measured.reference is not None
            found[name] = abs(mean(sample.numbers("drop")[0])) if one_sided else sample.measured.value
    return found


def finding(name: str, sample: Sample, required: Sequence[Limit], floor: float | None, noun: str) -> Finding:
    """Put together what is known of a metric and hold it against its limits.

    Raises:
        RecipeError: A limit is on something that this metric has not.
    """
    metric, measured = sample.metric, sample.measured
    return Finding(
        value=measured.value,
        median=median(sample.by_prompt("value")) if sample.readings and not measured.shares else None,
        error=measured.error,
        interval=sample.number("value") if sample.readings else None,
        reference=measured.reference,
        drop=sample.number("drop"),
        ratio=sample.ratio,
        floor=floor,
        unit=metric.unit,
        direction=metric.direction,
        judgements=tuple(judgement(name, sample, limit, floor, noun) for limit in required),
        worst=worst(sample),
    )


def judgement(name: str, sample: Sample, limit: Limit, floor: float | None, noun: str) -> LimitResult:
    """Hold one limit against what was measured: a mean by its interval, and the worst answer as it is.

    Raises:
        RecipeError: The metric has no such number.
    """
    found = sample.number(limit.of)
    if found is None:
        why = "compares the two sides and " if sample.readings else ""
        raise RecipeError(f"{name} {why}has no {limit.of}.", where="validation.require")
    verdict, is_mean = _held_against(found, limit), bool(sample.readings) and limit.of in MEANS
    if is_mean and sample.prompts < LEAST:
        verdict = "INCONCLUSIVE"
    return LimitResult(
        words=limit.words(sample.metric.unit, noun, change(sample.metric.direction)),
        of=limit.of,
        kind=limit.kind,
        bound=limit.bound,
        found=found,
        floor=floor if _has_floor(sample, limit) else None,
        verdict=verdict,
        prompts_needed=needed(sample, limit) if verdict == "INCONCLUSIVE" else None,
    )


def undecided_by(task: Task, requirements: Mapping[str, Any], prompts: int) -> dict[str, int]:
    """Return the metrics whose means so few prompts leave open though nothing is lost, each with how many settle it.

    Args:
        task: The recipe's.
        requirements: Its ``require``.
        prompts: How many there are.
    """
    every = limits_of(requirements, task.metrics)
    means = [(name, limit) for name, limits in every.items() for limit in limits if limit.of in MEANS]
    drawn = [pair for pair in means if isinstance(task.metrics[pair[0]], PairMetric | PooledMetric)]
    least = {name: max(settled_by(task.metrics[name], limit) for of, limit in drawn if of == name) for name, _ in drawn}
    return {name: least[name] for name in sorted(least) if least[name] > prompts}


def settled_by(metric: Metric, limit: Limit) -> int:
    """Return how many prompts settle a limit on a mean where nothing is lost; more than `FARTHEST` where none do.

    Of shares of yes and no that depends on their number alone: a few that all say yes prove little.
    """
    if not metric.span:
        return LEAST
    best = 0.0 if limit.of == "drop" else metric.span[metric.direction == "higher"]
    prior = priors(metric.span, limit.of)

    def passes(prompts: int) -> bool:
        return _held_against(interval([best] * prompts, prior), limit) == "PASS"

    return bisect_left(range(FARTHEST + 1), True, lo=LEAST, key=passes)


def remark_on(task: Task, requirements: Mapping[str, Any], prompts: int) -> str:
    """Return what is to be known of so few prompts before hours go into a verdict that they leave open, if they do."""
    if not (open_ones := undecided_by(task, requirements, prompts)):
        return ""
    many = counted(prompts, "prompt")
    if prompts < LEAST:
        told = f"the verdict will be INCONCLUSIVE: with {many} a mean has no interval"
    else:
        told = f"with {many} the verdict cannot be PASS where answers differ, even if nothing is lost"
    takes = [
        f"{name} takes {least:,} or more" if least <= FARTHEST else f"no number of them settles {name}"
        for name, least in open_ones.items()
    ]
    return f"{told}; {', '.join(takes)}"


def needed(sample: Sample, limit: Limit) -> int | None:
    """Return how many prompts would settle on which side of a limit the number lies, in four of five samples."""
    numbers, prior = sample.numbers(limit.of)
    return prompts_needed(numbers, limit.bound, prior)


def _has_floor(sample: Sample, limit: Limit) -> bool:
    """Tell whether the noise floor is of the number that a limit is on."""
    return limit.of == ("value" if sample.measured.reference is None else "drop")


def _held_against(found: Interval, limit: Limit) -> Verdict:
    bound = limit.bound
    inside, outside = (found.low >= bound, found.high < bound) if limit.kind == "min" else (
        found.high <= bound, found.low > bound)  # fmt: skip
    return "PASS" if inside else "FAIL" if outside else "INCONCLUSIVE"


def worst(sample: Sample) -> tuple[Worst, ...]:
    """Return the pairs with the largest drop where the source has values of its own, else with the worst values."""
    sign = 1 if sample.metric.direction == "higher" else -1
    ranked = sorted(sample.readings, key=lambda entry: sign * (entry[1].value - (entry[1].reference or 0.0)))
    return tuple(Worst(prompt=pair.index, seed=pair.seed, value=one.value) for pair, one in ranked[:SHOWN])

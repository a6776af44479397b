"""Whether a browser answers as a checkpoint must: the limits on its worst answers, and the sentence of the report.

Some metrics look at all answers at once, such as those that rank them. So what a browser answered stands among the
checkpoint's other answers, and what is read of it is held against what is required in every answer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from statistics import mean
from typing import Any, Final

from pipeline.tasks.metrics import MetricInput, Pair, PairMetric, Reading
from pipeline.validate.browser.asking import TriedInBrowser
from pipeline.validate.browser.scripts import TRANSFORMERS
from pipeline.validate.limits import Limit, amount, limits_of
from pipeline.validate.pairs import Prompt, Side, pair_up
from pipeline.validate.report import CompatibilityCheck, Verdict, change

NAME: Final = f"transformers.js {TRANSFORMERS.version}"
MEGABYTE: Final = 1e6
SHOWN: Final = 60  # characters of an answer


def judge_in_browser(
    tried: TriedInBrowser,
    answered: Side,
    sides: tuple[Side, Side],
    prompts: list[Prompt],
    requirements: Mapping[str, Any],
) -> CompatibilityCheck:
    """Hold what a browser answered against what is required.

    Args:
        tried: What the browser did.
        answered: The candidate's answers, with the browser's in the place of those that it was asked for.
        sides: The source's answers, and the candidate's.
        prompts: The request's, in its order.
        requirements: The recipe's ``require``.
    """

    def judged(verdict: Verdict, text: str) -> CompatibilityCheck:
        return CompatibilityCheck(kind="browser", name=NAME, verdict=verdict, text=text, numbers=tried.numbers,
                                  settings=tried.settings)  # fmt: skip

    if tried.failure:
        return judged("FAIL", f"{tried.browser} does not answer with it: {tried.failure}")
    reference, candidate = sides
    medium, asked = reference.task.medium, {(answer.prompt, answer.seed) for answer in tried.given}
    broken = [f"{prompts[one.prompt].text!r} is {one.fault}" for one in tried.given if one.fault]
    if broken:
        return judged("FAIL", f"In {tried.browser} the {medium.noun} for {broken[0]}.")
    pairs, native = pair_up(reference, answered, prompts), pair_up(reference, candidate, prompts)
    if medium.words and (other := begun_otherwise(medium.words, pairs, native, asked)):
        what = f"answers otherwise: no {medium.noun} begins as outside of a browser"
        said = medium.words(other.candidate)[:SHOWN]
        return judged("FAIL", f"{tried.browser} {what}; for {other.prompt!r} it begins {said!r}.")
    told = []
    for name, limits in required(requirements, reference, pairs):
        metric: PairMetric = medium.metrics[name]  # type: ignore[assignment]
        inside = readings(metric, pairs, asked)
        outside = readings(metric, native, asked)
        if not inside:
            continue
        for limit in limits:
            if pair := beyond(metric, limit, inside):
                return judged("FAIL", _failed(tried, name, metric, limit, pair, medium.noun))
        both = [amount(mean(reading.value for _, reading in of), metric.unit) for of in (inside, outside)]
        told.append(f"{name} {both[0]} in the mean, {both[1]} outside of a browser")
    return judged("PASS", f"{_costs(tried, medium.noun)}: {'; '.join(told) or 'no number was required'}.")


def begun_otherwise(
    words: Callable[[Any], str], inside: Sequence[Pair], outside: Sequence[Pair], asked: set[tuple[int, int]]
) -> Pair | None:
    """Return the first answer of a browser's where none begins with the word that it begins with outside of one.

    Texts part where two words are nearly as likely, which other kernels decide otherwise; a question that comes to the
    model as another one, such as by another chat template, is another from the first word.
    """
    both = [two for two in zip(inside, outside, strict=True) if (two[0].index, two[0].seed) in asked]
    begun = [[words(pair.candidate).split()[:1] for pair in two] for two in both]
    return None if any(own == other for own, other in begun) else both[0][0]


def required(
    requirements: Mapping[str, Any], reference: Side, pairs: tuple[Pair, ...]
) -> Iterator[tuple[str, tuple[Limit, ...]]]:
    """Yield the limits on every answer, of the metrics that read answers and need no model that judges."""
    for name, limits in limits_of(requirements, reference.task.metrics).items():
        metric = reference.task.metrics[name]
        if isinstance(metric, PairMetric) and not metric.lacks(MetricInput(pairs)):
            yield name, tuple(limit for limit in limits if limit.of.startswith("worst"))


def readings(metric: PairMetric, pairs: tuple[Pair, ...], asked: set[tuple[int, int]]) -> list[tuple[Pair, Reading]]:
    """Return what a metric reads of the answers that a browser was asked for, among all others."""
    found = zip(pairs, metric.measure(MetricInput(pairs)).readings, strict=True)
    return [(pair, reading) for pair, reading in found if (pair.index, pair.seed) in asked and reading.weight]


def beyond(metric: PairMetric, limit: Limit, found: list[tuple[Pair, Reading]]) -> tuple[Pair, float] | None:
    """Return the answer that is farthest outside of a limit, with its number."""
    worse = 1 if metric.direction == "lower" else -1
    numbers = [
        (pair, worse * (reading.value - (reading.reference or 0.0)) if limit.of == "worst drop" else reading.value)
        for pair, reading in found
    ]
    sign = 1 if limit.kind == "max" else -1
    worst = max(numbers, key=lambda one: sign * one[1])
    return worst if sign * worst[1] > sign * limit.bound else None


def _failed(
    tried: TriedInBrowser, name: str, metric: PairMetric, limit: Limit, worst: tuple[Pair, float], noun: str
) -> str:
    verb = f"{change(metric.direction)}s by" if limit.of == "worst drop" else "is"
    found = f"{name} {verb} {amount(worst[1], metric.unit)} for {worst[0].prompt!r}"
    wanted = limit.words(metric.unit, noun, change(metric.direction))
    return f"{tried.browser} answers otherwise: {found}; {wanted} is required."


def _costs(tried: TriedInBrowser, noun: str) -> str:
    """Return what answering took, as the beginning of a sentence."""
    numbers = tried.numbers
    each = f"answers in {numbers['seconds_per_question']:.3g} s each on {numbers['threads']:.0f} thread"
    memory = f"taking {numbers['peak_memory_bytes'] / MEGABYTE:.0f} MB at most"
    return (
        f"{tried.browser} loads it in {numbers['load_seconds']:.1f} s and {each}, {memory}; "
        f"of {numbers['questions']:.0f} {noun}s there"
    )

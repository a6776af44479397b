"""Judge a candidate against its source: look at all that was loaded and answered, and say what follows and why."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from math import floor
from statistics import median
from typing import Any

from pipeline.tasks import Task
from pipeline.tasks.answers import Answers, Facts
from pipeline.tasks.metrics import Measured, MetricInput, Pair, Sizes
from pipeline.validate import layers
from pipeline.validate.config_diff import differences
from pipeline.validate.degenerate import degenerate_candidate, refuse_degenerate_source
from pipeline.validate.findings import Limits, Sample, finding, measure, noise_floors
from pipeline.validate.intervals import CONFIDENCE, FARTHEST, LEAST, share_outside
from pipeline.validate.limits import amount, judges_of, limits_of
from pipeline.validate.pairs import Prompt, Side, identical, pair_up, repeated_pairs
from pipeline.validate.report import (
    CompatibilityCheck,
    Finding,
    Floor,
    Interval,
    LayerReport,
    LimitResult,
    PairReport,
    Reason,
    Report,
    Verdict,
)

FAR = 10  # times the prompts of a sample: more of them cost more than another scheme
NAMED = 2  # layers or answers that are named; others are counted
ORDER: tuple[Verdict, ...] = ("FAIL", "INCONCLUSIVE", "PASS")


@dataclass(frozen=True)
class Evidence:
    """What is known of a candidate besides its answers.

    Attributes:
        made: SQNR in decibels that quantization measured, by ``component/layer``; none for a tensor without signal.
        uses: What users do next, as it was tried.
    """

    made: Mapping[str, float | None] = field(default_factory=dict)
    uses: tuple[CompatibilityCheck, ...] = ()


def judge(
    reference: Side,
    candidate: Side,
    prompts: Sequence[Prompt],
    requirements: Mapping[str, Any],
    sizes: Sizes | None = None,
    besides: Evidence = Evidence(),
) -> Report:
    """Measure every metric that has what it needs and decide by the recipe's requirements.

    Args:
        reference: The source's answers.
        candidate: The candidate's answers to the same request.
        prompts: The request's prompts in its order, with their labels.
        requirements: The recipe's ``require``; every ``model`` is a local folder by now.
        sizes: Bytes of source and result, for ``size_ratio``.
        besides: What is known besides.

    Raises:
        RecipeError: A requirement is malformed or cannot be measured on what was given, or the source's own answers are
            degenerate.
        CannotHereError: A required metric needs a library that is missing.
        GenerationError: The answers do not belong together.
    """
    task = reference.task
    limits = limits_of(requirements, task.metrics)
    pairs = pair_up(reference, candidate, prompts)
    refuse_degenerate_source(reference, pairs)
    same = [identical(task, pair) for pair in pairs]
    facts = _facts(reference.answers), _facts(candidate.answers)
    given = MetricInput(pairs, sizes, facts, judges_of(requirements))
    measured, unmeasured = measure(task, given, limits)
    again = repeated_pairs(reference, prompts)
    floors = noise_floors(task, MetricInput(again, judges=given.judges), list(measured))
    samples = {name: Sample(task.metrics[name], found, pairs, all(same)) for name, found in measured.items()}
    findings = {
        name: finding(name, sample, limits.get(name, ()), floors.get(name), task.medium.noun)
        for name, sample in samples.items()
    }
    looked = layers.compare(reference.folder, candidate.folder, besides.made)
    faults = degenerate_candidate(candidate, pairs)
    seen = _file_reasons(reference, candidate) + _layer_reasons(looked) + _answer_reasons(task, pairs, faults)
    seen = seen or _where_the_signal_went(findings, looked)
    reasons = seen + _metric_reasons(task, findings, limits, pairs) + _use_reasons(besides.uses)
    verdict = next((word for word in ORDER if any(reason.verdict == word for reason in reasons)), ORDER[-1])
    return Report(
        task=reference.answers.task,
        verdict=verdict,
        reasons=_told(verdict, reasons) or (_nothing_required(task, pairs),),
        metrics=findings,
        unmeasured=unmeasured,
        pairs=_pair_reports(reference, candidate, pairs, measured, same, faults),
        identical=sum(same),
        layers=looked,
        uses=besides.uses,
        floor=_floor(reference, again),
        reference=facts[0],
        candidate=facts[1],
        sizes=sizes,
    )


def _told(verdict: Verdict, reasons: Iterable[Reason]) -> tuple[Reason, ...]:
    """Return the reasons to tell: where something failed, what failed and what is open."""
    words = ORDER[: max(ORDER.index(verdict), 1) + 1]
    return tuple(reason for word in words for reason in reasons if reason.verdict == word)


def _nothing_required(task: Task, pairs: Sequence[Pair]) -> Reason:
    text = f"All {len(pairs)} {task.medium.noun}s were made; no number was required."
    return Reason(about="metric", verdict="PASS", text=text)


def _file_reasons(reference: Side, candidate: Side) -> list[Reason]:
    """Return a sentence for everything that was loaded and is not the source's."""
    found = differences(reference.answers, candidate.answers)
    return [Reason(about="file", verdict="FAIL", text=text) for text in found]


def _use_reasons(uses: Sequence[CompatibilityCheck]) -> list[Reason]:
    """Return a sentence for everything that was tried."""
    return [Reason(about="use", verdict=use.verdict, text=f"{use.name}: {use.text}") for use in uses]


def _layer_reasons(looked: Sequence[LayerReport]) -> list[Reason]:
    """Return a sentence for every component with layers at fault; the component that is hit hardest is first."""
    faulty = [layer for layer in looked if layer.fault]
    found = []
    for component in dict.fromkeys(layer.component for layer in faulty):
        hit = [layer for layer in faulty if layer.component == component]
        of = sum(layer.component == component for layer in looked)
        named = "; ".join(f"{layer.name} {layer.fault}" for layer in hit[:NAMED])
        more = f"; and {len(hit) - NAMED} more of its {of} layers" if len(hit) > NAMED else ""
        found.append(Reason(about="layer", verdict="FAIL", text=f"{component}: {named}{more}."))
    return found


def _where_the_signal_went(findings: Mapping[str, Finding], looked: Sequence[LayerReport]) -> list[Reason]:
    """Return what lost most, where answers differ too much and nothing is at fault by itself."""
    drawn = [finding for finding in findings.values() if finding.interval]
    failed = any(one.verdict == "FAIL" for finding in drawn for one in finding.judgements)
    quantized = [layer for layer in looked if layer.quantized and layer.sqnr is not None]
    if not quantized or not failed:
        return []
    lost: dict[str, list[LayerReport]] = {}
    for layer in quantized:
        lost.setdefault(layer.component, []).append(layer)
    middle = {name: median(layer.sqnr or 0.0 for layer in part) for name, part in lost.items()}
    name = min(middle, key=lambda part: middle[part])
    least = lost[name][0]
    text = (
        f"{name} lost most: half of its {len(lost[name])} quantized layers keep less than {middle[name]:.1f} dB of "
        f"their signal, and {least.name} keeps {least.sqnr:.1f} dB."
    )
    return [Reason(about="layer", verdict="FAIL", text=text)]


def _answer_reasons(task: Task, pairs: Sequence[Pair], faults: Sequence[str]) -> list[Reason]:
    """Return a sentence for the first answers that are none, and one that counts the others."""
    found = [
        f"{task.called(pair.prompt, pair.seed)} is {fault}." for pair, fault in zip(pairs, faults, strict=True) if fault
    ]
    noun = task.medium.noun
    more = [f"{len(found) - NAMED} more of {len(faults)} {noun}s are at fault."] if len(found) > NAMED else []
    return [Reason(about="answer", verdict="FAIL", text=text) for text in (*found[:NAMED], *more)]


def _metric_reasons(task: Task, findings: Mapping[str, Finding], limits: Limits, pairs: Sequence[Pair]) -> list[Reason]:
    """Return a sentence for every limit."""
    texts = {pair.index: pair.prompt for pair in pairs}
    found = []
    for name in limits:
        finding = findings[name]
        for judgement in finding.judgements:
            said = _sentence(name, judgement, finding, task.medium.noun)
            text = f"{said}{_what_next(task, judgement, finding, texts)}."
            found.append(Reason(about="metric", verdict=judgement.verdict, text=text))
    return found


def _sentence(name: str, judgement: LimitResult, finding: Finding, noun: str) -> str:
    """Return what was found and what was required; unrounded where rounding would hide the difference."""
    number, sign, unit = judgement.found.number, 1.0, finding.unit
    verbs = ("dropped by", "rose by") if finding.change == "drop" else ("rose by", "dropped by")
    verb = verbs[0] if judgement.of in {"drop", "worst drop"} else "is"
    if verb != "is" and number < 0 <= judgement.bound:
        verb, sign = verbs[1], -1.0
    shown, bound = amount(sign * number, unit), amount(judgement.bound, unit)
    if shown == bound and number != judgement.bound:
        shown = f"{number!r} {unit}".rstrip()
    where = f" in its worst {noun}" if judgement.of.startswith("worst") else ""
    required = f"{judgement.words} is required{_beside_the_noise(judgement, finding)}"
    return f"{name} {verb} {shown}{where}{_between(judgement.found, sign, unit)}; {required}"


def _beside_the_noise(judgement: LimitResult, finding: Finding) -> str:
    """Return what the source keeps to itself where that is not what is required."""
    noise, bound = judgement.floor, judgement.bound
    if noise is None or (noise >= bound if judgement.kind == "min" else noise <= bound):
        return ""
    drop = f"a {finding.change} of " if judgement.of == "drop" else ""
    return f", which the source itself does not keep when it runs a second time ({drop}{amount(noise, finding.unit)})"


def _between(found: Interval, sign: float, unit: str) -> str:
    """Return the interval in words; nothing where there is none."""
    low, high = (amount(end, "") for end in sorted((sign * found.low, sign * found.high)))
    return f" (95 % between {low} and {high} {unit}".rstrip() + ")" if low != high else ""


def _what_next(task: Task, judgement: LimitResult, finding: Finding, texts: Mapping[int, str]) -> str:
    """Return what to look at, how many prompts would settle it, or what so many do not show."""
    prompts = len(texts)
    if judgement.verdict == "INCONCLUSIVE":
        asked = f", which {prompts} {'prompt does' if prompts == 1 else 'prompts do'} not settle"
        return f"{asked}{_settled_by(judgement, prompts)}"
    if judgement.verdict == "PASS":
        return f"; {unseen(prompts)}" if judgement.of.startswith("worst") else ""
    if not finding.worst:
        return ""
    worst = finding.worst[0]
    seed = f" with seed {worst.seed}" if task.seeded else ""
    return f"; worst{seed} for {texts[worst.prompt]!r}: {amount(worst.value, finding.unit)}"


def _settled_by(judgement: LimitResult, prompts: int) -> str:
    """Return how many prompts would settle a limit, and whether another scheme is the cheaper way."""
    needed = judgement.prompts_needed
    if needed is None:
        return f", nor would {FARTHEST:,}; choose another scheme or limit"
    if prompts < LEAST:
        return f"; it takes {needed} or more"
    cheaper = "; another scheme is likely cheaper" if needed > FAR * prompts else ""
    return f"; about {needed} would in four of five samples, if what was found here holds{cheaper}"


def unseen(prompts: int) -> str:
    """Return how many prompts may be outside of what all of a sample keep."""
    least = floor(100 * (1 - share_outside(prompts)))
    return f"with {100 * CONFIDENCE:.0f} % confidence that is so for {least} % of all prompts or more"


def _pair_reports(
    reference: Side,
    candidate: Side,
    pairs: Sequence[Pair],
    measured: Mapping[str, Measured],
    same: Sequence[bool],
    faults: Sequence[str],
) -> tuple[PairReport, ...]:
    """Return every pair with the value that each metric read on it."""
    reports, words = [], reference.task.medium.words
    for index, pair in enumerate(pairs):
        readings = {name: one.readings[index] for name, one in measured.items() if one.readings}
        readings = {name: reading for name, reading in readings.items() if reading.weight}
        report = PairReport(
            prompt=pair.index,
            text=pair.prompt,
            label=pair.label,
            seed=pair.seed,
            reference=reference.answers.given[index].file,
            candidate=candidate.answers.given[index].file,
            texts=(words(pair.reference), words(pair.candidate)) if words else None,
            identical=same[index],
            fault=faults[index],
            values={name: reading.value for name, reading in readings.items()},
            reference_values={n: reading.reference for n, reading in readings.items() if reading.reference is not None},
        )
        reports.append(report)
    return tuple(reports)


def _floor(reference: Side, again: Sequence[Pair]) -> Floor | None:
    """Return how the noise floor was measured, if it was."""
    if not again:
        return None
    same = sum(identical(reference.task, pair) for pair in again)
    return Floor(varied=reference.answers.varied, pairs=len(again), identical=same)


def _facts(answers: Answers) -> Facts:
    return Facts.model_validate(answers.model_dump(include=set(Facts.model_fields)))

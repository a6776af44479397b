"""Judge a candidate against its source: measure everything, decide by what the recipe requires."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pipeline.errors import CannotHereError, RecipeError
from pipeline.quality.answers import Answers, Facts
from pipeline.quality.limits import Limit, amount, clip_model_of, limits_of
from pipeline.quality.metrics import METRICS, Given, Measured, Reading, Sizes
from pipeline.quality.pairs import Prompt, Side, degenerate, identical, pair_up, refuse_degenerate_source
from pipeline.quality.report import Finding, PairReport, Report, Worst

Limits = Mapping[str, tuple[Limit, ...]]


def judge(
    reference: Side,
    candidate: Side,
    prompts: Sequence[Prompt],
    requirements: Mapping[str, Any],
    sizes: Sizes | None = None,
) -> Report:
    """Measure every metric that has what it needs and decide by the recipe's requirements.

    Args:
        reference: The source's answers.
        candidate: The candidate's answers to the same request.
        prompts: The request's prompts in its order, with their labels.
        requirements: The recipe's ``require``; ``clip_score.model`` is a local folder by now.
        sizes: Bytes of source and result, for ``size_ratio``.

    Raises:
        SourceError: The source's own answers are degenerate.
        RecipeError: A requirement is malformed or cannot be measured on what was given.
        CannotHereError: A required metric needs a library that is missing.
        GenerationError: The answers do not belong together.
    """
    limits = limits_of(requirements)
    pairs = pair_up(reference, candidate, prompts)
    refuse_degenerate_source(reference, pairs, prompts)
    measured, unmeasured = _measure(Given(pairs, sizes, clip_model_of(requirements)), limits)
    findings = {name: _finding(name, found, limits, candidate) for name, found in measured.items()}
    faults = degenerate(candidate, [pair.candidate for pair in pairs], prompts)
    held, broken = _reasons(findings, limits, prompts)
    return Report(
        verdict="FAIL" if faults + broken else "PASS",
        reasons=tuple(faults + broken or held or [f"All {len(pairs)} pictures were drawn; no number was required."]),
        metrics=findings,
        unmeasured=unmeasured,
        pairs=_pair_reports(reference, candidate, prompts, measured, [identical(pair) for pair in pairs]),
        identical=sum(identical(pair) for pair in pairs),
        reference=_facts(reference.answers),
        candidate=_facts(candidate.answers),
        sizes=sizes,
    )


def _measure(given: Given, limits: Limits) -> tuple[dict[str, Measured], dict[str, str]]:
    """Measure what can be, and say of the rest what it lacks; what is required must be measured."""
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


def _finding(name: str, found: Measured, limits: Limits, candidate: Side) -> Finding:
    """Hold a metric's result against its limits."""
    metric = METRICS[name]
    drop = None if found.reference is None else found.reference - found.value
    required = limits.get(name, ())
    return Finding(
        value=found.value,
        reference=found.reference,
        drop=drop,
        unit=metric.unit,
        direction=metric.direction,
        limit=" and ".join(limit.words(metric.unit) for limit in required),
        passed=all(limit.holds(_number(name, limit, found.value, drop)) for limit in required) if required else None,
        worst=_worst(found.readings, candidate, metric.direction),
    )


def _number(name: str, limit: Limit, value: float, drop: float | None) -> float:
    if limit.of == "value":
        return value
    if drop is None:
        raise RecipeError(f"{name} compares the two pictures and has no drop.", where="validation.require")
    return drop


def _worst(readings: Sequence[Reading], candidate: Side, direction: str) -> Worst | None:
    """Return the pair with the largest drop where the source has a value of its own, else with the worst value."""
    if not readings:
        return None
    sign = 1 if direction == "higher" else -1

    def merit(index: int) -> float:
        return sign * (readings[index].value - (readings[index].reference or 0.0))

    lowest = min(range(len(readings)), key=merit)
    picture = candidate.answers.pictures[lowest]
    return Worst(prompt=picture.prompt, seed=picture.seed, value=readings[lowest].value)


def _reasons(findings: Mapping[str, Finding], limits: Limits, prompts: Sequence[Prompt]) -> tuple[list[str], list[str]]:
    """Return a sentence for every limit that holds, and one for every limit that is broken."""
    held, broken = [], []
    for name, required in limits.items():
        finding = findings[name]
        for limit in required:
            number = _number(name, limit, finding.value, finding.drop)
            sentence = _sentence(name, limit, number, finding.unit)
            if limit.holds(number):
                held.append(f"{sentence}.")
            else:
                broken.append(f"{sentence}{_where_to_look(finding, prompts)}.")
    return held, broken


def _sentence(name: str, limit: Limit, number: float, unit: str) -> str:
    """Return what was found and what was required; unrounded where rounding would hide the difference."""
    verb = "is" if limit.of == "value" else "dropped by"
    if limit.of == "drop" and number < 0 <= limit.bound:
        verb, number = "rose by", -number
    shown, bound = amount(number, unit), amount(limit.bound, unit)
    if shown == bound and number != limit.bound:
        shown = f"{number!r} {unit}".rstrip()
    return f"{name} {verb} {shown}; {limit.words(unit)} is required"


def _where_to_look(finding: Finding, prompts: Sequence[Prompt]) -> str:
    if finding.worst is None:
        return ""
    worst = finding.worst
    return f"; worst with seed {worst.seed} for {prompts[worst.prompt].text!r}: {amount(worst.value, finding.unit)}"


def _pair_reports(
    reference: Side,
    candidate: Side,
    prompts: Sequence[Prompt],
    measured: Mapping[str, Measured],
    same: Sequence[bool],
) -> tuple[PairReport, ...]:
    """Return every pair with the value that each metric read on it."""
    reports = []
    for index, (own, other) in enumerate(zip(reference.answers.pictures, candidate.answers.pictures, strict=True)):
        readings = {name: found.readings[index] for name, found in measured.items() if found.readings}
        report = PairReport(
            prompt=own.prompt,
            text=prompts[own.prompt].text,
            label=prompts[own.prompt].label,
            seed=own.seed,
            reference=own.file,
            candidate=other.file,
            identical=same[index],
            values={name: reading.value for name, reading in readings.items()},
            reference_values={n: reading.reference for n, reading in readings.items() if reading.reference is not None},
        )
        reports.append(report)
    return tuple(reports)


def _facts(answers: Answers) -> Facts:
    return Facts.model_validate(answers.model_dump(exclude={"pictures"}))

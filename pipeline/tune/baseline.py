"""The bench of a target: what its validation said as it is written, and what a change is expected to make of that."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from math import sqrt
from pathlib import Path
from statistics import mean, stdev

from pipeline.errors import PublishError, RecipeError, VerdictError
from pipeline.plan.model import ResolvedComponent, TargetPlan
from pipeline.plan.questions import questions_folder, request_of
from pipeline.quantize.build import Origin, quantize
from pipeline.run import Engine, Outcome, Run
from pipeline.store import Store
from pipeline.tasks import TASKS
from pipeline.tasks.answers import Answer, Request
from pipeline.tasks.metrics import Sizes
from pipeline.tune.values import Change
from pipeline.validate import Report, Side, judge
from pipeline.validate.layer_swaps import numbers
from pipeline.validate.limits import judges_of
from pipeline.validate.report import Interval, LimitResult, Statistic, Verdict
from pipeline.validate.stage import (
    Judged,
    failed_name,
    judged_before,
    prompts_of,
    resolved_requirements,
    side,
)

Numbers = Mapping[tuple[str, Statistic], Sequence[float]]
"""What required metrics say of the answers of a trial, prompt by prompt."""


@dataclass(frozen=True)
class TuningBaseline:
    """A target whose validation was made.

    Attributes:
        engine: Its recipe.
        plan: Its plan as written.
        judged: Its report, with the answers.
        few: How many prompts a trial asks, with the first seed.
    """

    engine: Engine
    plan: TargetPlan
    judged: Judged
    few: int

    @property
    def request(self) -> Request:
        """What the validation asked."""
        return request_of(self.plan, questions_folder(self.plan.validation, self.store))

    @cached_property
    def questions(self) -> tuple[tuple[int, int], ...]:
        """What a trial asks: prompts spread over all of them."""
        every = len(self.request.questions)
        count = min(self.few, every)
        return tuple((index * every // count, self.request.seeds[0]) for index in range(count))

    @cached_property
    def origin(self) -> Origin:
        """The source, all of it on this disk."""
        return self.engine.together([Run(self.engine, self.plan, {}, "fetch")], "fetch")

    @cached_property
    def parts(self) -> Mapping[str, ResolvedComponent]:
        """What is known of each component that is quantized."""
        return self.engine.asked(self.plan)

    @cached_property
    def sides(self) -> tuple[Side, Side]:
        """The source's answers to the questions of a trial, and all of the target's as written."""
        return self.asked_of(side(self.judged.reference)), side(self.judged.candidate)

    @property
    def report(self) -> Report:
        """What the validation said."""
        return self.judged.report

    @cached_property
    def folders(self) -> dict[str, Path]:
        """The folders of judging models that the recipe names, by metric."""
        return self.engine.judges.folders(self.store, self.engine.listen)

    @cached_property
    def judges(self) -> dict[str, Path]:
        """The folders of models that judge, by metric."""
        return judges_of(resolved_requirements(self.plan.validation.require, self.folders))

    @property
    def ranking(self) -> str:
        """The metric that ranks answers of this task."""
        return TASKS[self.plan.task].medium.ranking

    @property
    def store(self) -> Store:
        """Where everything is kept."""
        return self.engine.store

    def checkpoint(self) -> Path:
        """Return the folder of the checkpoint as written: where it is, where it was moved to, or made once more."""
        failed = self.store.root / "failed" / failed_name(self.plan)
        if failed.exists():
            return failed
        return quantize([self.plan], [self.parts], self.origin, self.store, self.engine.listen)[0]

    def judgements(self) -> Iterator[tuple[str, LimitResult]]:
        """Return what is required, with the metric that it is required of."""
        for name, finding in self.report.metrics.items():
            yield from ((name, judgement) for judgement in finding.judgements)

    def asked_of(self, whole: Side) -> Side:
        """Return of a side's answers those that a trial asks for."""
        given = tuple(one for one in whole.answers.given if (one.prompt, one.seed) in self.questions)
        return Side(whole.answers.model_copy(update={"given": given}), whole.folder)

    def measured(self, folder: Path, given: tuple[Answer, ...], size: int) -> Numbers:
        """Return what the required metrics, and the one that ranks, say of the answers of a trial.

        Args:
            folder: Where they are.
            given: The answers.
            size: Bytes of the result that would give them.
        """
        reference, written = self.sides
        candidate = Side(written.answers.model_copy(update={"given": given}), folder)
        wanted: dict[str, list[Statistic]] = {self.ranking: ["value"]}
        for name, judgement in self.judgements():
            wanted.setdefault(name, []).append(judgement.of)
        sizes = Sizes(source=self.plan.source_bytes, result=size)
        return numbers(reference, candidate, prompts_of(self.plan.validation), sizes, wanted, self.judges)

    def expected(self, base: Numbers, found: Numbers) -> dict[str, float]:
        """Return what the whole validation is expected to find: what it found, and what changed on a few prompts.

        These are few, so that a standard error of the change is taken to be against it.
        """
        expected = {}
        for name, judgement in self.judgements():
            change, error = shift(base.get((name, judgement.of), []), found.get((name, judgement.of), []))
            worse = -error if judgement.kind == "min" else error
            expected[words_of(name, judgement)] = judgement.found.number + change + worse
        return expected

    def holds(self, expected: Mapping[str, float]) -> bool:
        """Tell whether what is expected is within all limits, by as much as the validation was unsure of it."""
        return all(within(judgement, expected[words_of(name, judgement)]) for name, judgement in self.judgements())

    def may_be(self, size: int) -> bool:
        """Tell whether a result may have so many bytes."""
        more = (size - self.plan.result_bytes) / self.plan.source_bytes
        limits = [judgement for name, judgement in self.judgements() if name == "size_ratio"]
        return all(within(judgement, judgement.found.number + more) for judgement in limits)

    def unseen(self, judged: Judged) -> Report:
        """Judge a change by the prompts alone on which none was tried.

        Whoever tries until something passes finds what suits the prompts that it was tried on; what holds on the others
        as well was not chosen for them.
        """
        tried = {prompt for prompt, _ in self.questions}
        reference, candidate = side(judged.reference).without(tried), side(judged.candidate).without(tried)
        require = resolved_requirements(self.plan.validation.require, self.folders)
        return judge(reference, candidate, prompts_of(self.plan.validation), require, judged.report.sizes)

    def changed(self, change: Change) -> Engine:
        """Return the engine of the recipe with a change of this target."""
        loaded = self.engine.loaded
        parts = {**loaded.recipe.named(self.plan.target), **change}
        targets = {**loaded.recipe.targets, self.plan.target: {name: part for name, part in parts.items() if part}}
        recipe = loaded.recipe.model_copy(update={"targets": targets})
        return replace(self.engine, loaded=replace(loaded, recipe=recipe), shared=self.store)


def bench_of(engine: Engine, target: str, few: int) -> TuningBaseline:
    """Validate a target as it is written, unless that was done before.

    Raises:
        PublishError: It cannot be made or validated.
    """
    judged = validated(engine, target)
    if isinstance(judged, PublishError):
        raise judged
    return TuningBaseline(engine, *judged, few)


def validated(engine: Engine, target: str) -> tuple[TargetPlan, Judged] | PublishError:
    """Take a target as far as its verdict, by the ordinary stages, and return its plan and the report, or the error."""
    (ended,) = engine.run([target], "validate")
    if not isinstance(ended, (Outcome, VerdictError)):
        return ended
    plan, _ = engine.plan(target)
    if isinstance(ended, Outcome) and ended.state == "same":
        remedy = "Tune the target that is published instead." if plan.step and plan.step.taken else ""
        return RecipeError(f"There is nothing to tune: it is {plan.instead}.", where=target, remedy=remedy)
    judged = judged_before(plan, engine.store)
    if judged is None:
        what = f"{target} is {getattr(ended, 'state', 'refused')}, and its report is not in this home."
        return VerdictError(what, remedy="Tune it in the home in which it was validated.")
    return plan, judged


def shift(base: Sequence[float], found: Sequence[float]) -> tuple[float, float]:
    """Return the mean change from one trial to another, prompt by prompt, and its standard error."""
    if len(base) != len(found) or not base:  # a metric that had nothing to say of some answer
        return (mean(found) - mean(base) if base and found else 0.0), 0.0
    changes = [new - old for old, new in zip(base, found, strict=True)]
    return mean(changes), stdev(changes) / sqrt(len(changes)) if len(changes) > 1 else 0.0


def within(judgement: LimitResult, number: float) -> bool:
    """Tell whether a number is within a limit with the margin by which the sample left it open."""
    found, bound = judgement.found, judgement.bound
    if judgement.kind == "min":
        return number - (found.number - found.low) >= bound
    return number + (found.high - found.number) <= bound


def words_of(name: str, judgement: LimitResult) -> str:
    """Return what a limit is on: a metric, its drop or its ratio."""
    return name if judgement.of == "value" else f"{name} {judgement.of}"


def found_of(report: Report) -> dict[str, Interval]:
    """Return what a report found of everything that is required."""
    return {
        words_of(name, judgement): judgement.found
        for name, finding in report.metrics.items()
        for judgement in finding.judgements
    }


def verdicts_of(report: Report) -> set[Verdict]:
    """Return what a report makes of everything that is required."""
    return {judgement.verdict for finding in report.metrics.values() for judgement in finding.judgements}

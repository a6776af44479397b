"""Facts: every value that a card's template may use, looked up in plan and report."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Any, Final, get_args

from pipeline.backends import BACKENDS, Loader, Scheme, loaders
from pipeline.card.metadata import SourceCard
from pipeline.errors import CardError
from pipeline.hub.release_files import MEDIAN, QUESTIONS, USAGE, WORST
from pipeline.plan.model import EDITION, PlannedComponent, TargetPlan, form_of, scheme_of
from pipeline.tasks import TASKS
from pipeline.tasks.metrics import Sizes
from pipeline.tasks.protocol import IDENTICAL
from pipeline.validate import Finding, PairReport, Report
from pipeline.validate.report import LayerReport, UseKind

MOST_NAMED: Final = 8  # modules that are kept, of one component for one reason


@dataclass(frozen=True)
class Ingredients:
    """What a card is made of.

    Attributes:
        plan: The target's plan.
        report: What was measured.
        source: What the source's card says.
        executed: Whether the snippet is run before the release.
        made: Bytes of the files that were made of each component, where that is known.
        further: What was measured on each further edition, and whether its snippet is run.
    """

    plan: TargetPlan
    report: Report
    source: SourceCard
    executed: bool
    made: Mapping[str, int] = field(default_factory=dict)
    further: Sequence[tuple[Report, bool]] = ()


@dataclass(frozen=True)
class Shown:
    """The pairs of answers that a card shows.

    Attributes:
        metric: The name of the metric that chose them.
        unit: The unit of its values; empty for plain ratios.
        worst: The pair that it finds worst, by its drop from the source's where it looks at one side at a time.
        median: The pair in the middle of all; None where that is the worst one.
    """

    metric: str
    unit: str
    worst: PairReport
    median: PairReport | None


@dataclass(frozen=True)
class Layers:
    """What the layers of one component answer, against the source's.

    Attributes:
        component: Its name in the plan.
        quantized: Number of its layers that are quantized and answer with numbers.
        middle: Median of their SQNR, in decibels.
        least: The layer among them with the least SQNR.
        unchanged: Number of its other layers that answer exactly as the source's.
    """

    component: str
    quantized: int
    middle: float
    least: LayerReport
    unchanged: int


@dataclass(frozen=True)
class Beside:
    """A further artifact, which lies beside the first one of its component.

    Attributes:
        component: Its component.
        part: What it is.
        report: What was measured with it instead of that one.
        executed: Whether its snippet is run before the release.
        usage: The path of the snippet that loads it.
    """

    component: str
    part: PlannedComponent
    report: Report
    executed: bool
    usage: str

    @property
    def scheme(self) -> Scheme:
        """What its backend says of its scheme."""
        return scheme_of(self.part.quantization)


def facts_of_plan(plan: TargetPlan, foreign: Collection[str] = ()) -> dict[str, Any]:
    """Return the values that the templates of snippets may use, by the names that they have for them.

    Args:
        plan: The plan, of an edition.
        foreign: The components whose config in the repository says how another artifact is quantized.
    """
    parts, task = plan.components, TASKS[plan.task]
    return {
        "plan": plan,
        "step": plan.step,
        "dtype": plan.dtype,
        "schemes": {
            name: BACKENDS[part.quantization.backend].SCHEMES[part.quantization.scheme] for name, part in parts.items()
        },
        "apart": {name: part for name, part in parts.items() if part.file},
        "foreign": foreign,
        "imports": sorted({package for loader in loaders_of(plan) for package in loader.imports}),
        "loader": task.loader,
        "question": plan.validation.prompts[0],
        "questions": QUESTIONS,
        "prompt": plan.validation.prompts[0].prompt,
        "call": plan.validation.call,
        "seed": plan.validation.seeds[0],
    }


def facts(given: Ingredients) -> dict[str, Any]:
    """Return the values that templates may use, by the names that these have for them.

    A template that wants another one is refused.

    Raises:
        CardError: No metric reads answers, so there is no worst one to show.
    """
    plan, report = given.plan, given.report
    task, told = TASKS[report.task], facts_of_plan(plan)
    known = loaders_of(plan)
    spared = {name for loader in known for name in loader.spares}
    beside = zip(plan.beside, given.further, [*usages(plan)][1:], strict=True)
    return told | {
        "beside": [Beside(*named, *judged, usage) for named, judged, usage in beside],
        "ladder": plan.ladder,
        "report": report,
        "metrics": ordered(report),
        "source": given.source,
        "runs_on": sorted({scheme.runs_on for scheme in told["schemes"].values()}),
        "needs": [
            *(name for name in task.installs if name not in spared),
            *sorted(
                {BACKENDS[part.quantization.backend].DISTRIBUTION for _, part in plan.artifacts} - {*task.installs}
            ),
        ],
        "how": next((loader.how for loader in known if loader.how), ""),
        "opened": next((loader.how for loader in known if loader.opens), ""),
        "executed": given.executed,
        "made": given.made,
        "sizes": report.sizes or Sizes(source=plan.source_bytes, result=plan.result_bytes),
        "files": {"worst": WORST, "median": MEDIAN},
        "shown": shown(report),
        "noun": task.medium.noun,
        "drawn": task.medium.beside is not None,
        "part": task.medium.part,
        "seeded": task.seeded,
        "layers": layers_of(report),
        "uses": {kind: [use for use in report.uses if use.kind == kind] for kind in get_args(UseKind)},
        "license": given.source.license,
        "kept": kept_modules(plan.components),
        "most_named": MOST_NAMED,
    }


def loaders_of(plan: TargetPlan) -> list[Loader]:
    """Return how the components that a plan quantizes are loaded."""
    return loaders((part.library, part.quantization.backend) for part in plan.components.values())


def usages(plan: TargetPlan) -> dict[str, TargetPlan]:
    """Return which edition of a target each of its snippets uses, by their paths in what is published."""
    stem, dot, suffix = USAGE.rpartition(".")
    names = [edition.target.removeprefix(plan.target).replace(EDITION, "-") for edition in plan.editions]
    return {f"{stem}{name}{dot}{suffix}": edition for name, edition in zip(names, plan.editions, strict=True)}


def foreign_configs(plan: TargetPlan, edition: TargetPlan) -> set[str]:
    """Return the components of an edition whose config in the repository says how the first artifact is quantized."""
    firsts = {name: plan.components[name] for name in plan.further}
    return {
        name
        for name, first in firsts.items()
        if edition.components[name] != first and form_of(first.library, first.quantization).config
    }


def usages_of(plan: TargetPlan) -> list[str]:
    """Return what the name of the snippet's template begins with where a loader has another one than the task."""
    return sorted({loader.usage for loader in loaders_of(plan) if loader.usage})


def ordered(report: Report) -> dict[str, Finding]:
    """Return the metrics in their order, those first of which something is required."""
    every = (*TASKS[report.task].metrics, *report.metrics)
    known = {name: report.metrics[name] for name in every if name in report.metrics}
    return dict(sorted(known.items(), key=lambda entry: not entry[1].judgements))


def shown(report: Report) -> Shown:
    """Choose the worst and the median pair, by the metric that ranks answers where it could be measured.

    Raises:
        CardError: No metric reads answers.
    """
    names = [name for name in report.metrics if any(name in pair.values for pair in report.pairs)]
    if not names:
        raise CardError("No metric compares the answers, so none is known to be the worst.", where="report.json")
    first = TASKS[report.task].medium.ranking
    name = first if first in names else names[0]
    found, sign = report.metrics[name], 1 if report.metrics[name].direction == "higher" else -1
    ranked = sorted(
        (pair for pair in report.pairs if name in pair.values),
        key=lambda pair: sign * (pair.values[name] - pair.reference_values.get(name, 0.0)),
    )
    middle = (len(ranked) - 1) // 2
    return Shown(name, found.unit, ranked[0], ranked[middle] if middle else None)


def layers_of(report: Report) -> list[Layers]:
    """Sum up the layers of each component that has quantized ones, in the order of the report: the worst first."""
    found = []
    for name in dict.fromkeys(layer.component for layer in report.layers):
        part = [layer for layer in report.layers if layer.component == name]
        taken = {layer: layer.sqnr for layer in part if layer.quantized and layer.sqnr is not None}
        same = sum(layer.sqnr == IDENTICAL for layer in part if not layer.quantized)
        if taken:
            found.append(Layers(name, len(taken), median(taken.values()), min(taken, key=lambda one: taken[one]), same))
    return found


def kept_modules(components: Mapping[str, PlannedComponent]) -> dict[str, dict[str, Sequence[str]]]:
    """Return the names of the modules that stay as they are, by component and reason."""
    found: dict[str, dict[str, list[str]]] = {}
    for name, part in components.items():
        for module, reason in part.kept.items():
            found.setdefault(name, {}).setdefault(reason, []).append(module)
    return {name: dict(reasons) for name, reasons in found.items()}

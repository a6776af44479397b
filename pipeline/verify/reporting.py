"""Writes the pages of a recipe's targets from what was judged before: what ``publish report`` does."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from pydantic import BaseModel, ConfigDict

from pipeline.errors import CannotHereError, PublishError, RecipeError
from pipeline.files import human_size, write_atomically
from pipeline.hub.release_files import QUESTIONS
from pipeline.plan.model import PlannedComponent, TargetPlan
from pipeline.plan.parts import PlannedLora, PlannedPrompts, PlannedValidation
from pipeline.plan.planner import Planner
from pipeline.store import Store
from pipeline.validate.page import Subject, render
from pipeline.validate.stage import Judged, judged_before

KEPT: Final = 12  # modules that one component's line names


class NotJudgedError(CannotHereError):
    """There is no verdict on a target."""


class Page(BaseModel):
    """A page that was written.

    Attributes:
        target: The target's name in the recipe.
        verdict: What it says.
        path: Its file.
        size: The file's bytes.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    target: str
    verdict: str
    path: str
    size: int


def pages(planner: Planner, store: Store, targets: Iterable[str], out: Path) -> Iterator[Page | PublishError]:
    """Write a page for each target; yield what became of each.

    Args:
        planner: Makes the plans of the recipe's targets.
        store: Where their reports and answers are kept.
        targets: The targets.
        out: The folder for ``report-<target>.html``, or the one page itself.

    Raises:
        RecipeError: Several pages cannot be one file.
    """
    paths = places(out, list(targets))
    found = {name: find(planner, store, name) for name in planner.loaded.recipe.targets}
    reports = {name: None if isinstance(one, PublishError) else one[1].report for name, one in found.items()}
    for target, path in paths.items():
        one = found[target]
        if isinstance(one, PublishError):
            yield one
            continue
        plan, judged = one
        subject = Subject(
            target=target,
            repository=plan.repository,
            report=judged.report,
            reference=judged.reference,
            candidate=judged.candidate,
            others={name: report for name, report in reports.items() if name != target},
            used={
                "What was made": made(plan),
                "What was asked": asked(plan.validation, str(planner.loaded.recipe.validation.prompts)),
                "What the plan pins of versions": plan.versions,
            },
        )
        yield write_page(subject, path)


def find(planner: Planner, store: Store, target: str) -> tuple[TargetPlan, Judged] | PublishError:
    """Return what was judged of a target, PASS or not, or why there is nothing; nothing is judged anew."""
    try:
        plan = planner.plan(target)
    except PublishError as error:
        return error
    if judged := judged_before(plan, store):
        return plan, judged
    what = "This target was not judged here by the plan that the recipe has now."
    remedy = f"Run `publish run {planner.loaded.path} --target {target} --stop-after validate`."
    return NotJudgedError(what, where=target, remedy=remedy)


def write_page(subject: Subject, path: Path) -> Page:
    """Write the page on a verdict."""
    content = render(subject).encode()
    write_atomically(path, content)
    return Page(target=subject.target, verdict=subject.report.verdict, path=str(path), size=len(content))


def places(out: Path, targets: Sequence[str]) -> dict[str, Path]:
    """Return where each target's page is written.

    Raises:
        RecipeError: Several pages cannot be one file.
    """
    if out.suffix != ".html" or out.is_dir():
        return {target: out / f"report-{target}.html" for target in targets}
    if len(targets) > 1:
        raise RecipeError(
            f"{len(targets)} pages cannot be one file.",
            where=str(out),
            remedy="Name a folder with --out, or one target with --target.",
        )
    return dict.fromkeys(targets, out)


def made(plan: TargetPlan) -> dict[str, str]:
    """Return what was made of what."""
    source = plan.source
    where = f"{source.repo} at {source.revision}" if source.repo else f"the folder {source.path}"
    return {
        "Repository": plan.repository,
        "Source": where + (f", variant {source.variant}" if source.variant else ""),
        "Pipeline": f"{plan.pipeline}, {plan.task}",
        **{name: component(part) for name, part in plan.components.items()},
        **{f"LoRA {lora.name}": adapter(lora) for lora in plan.loras},
        **({"Found for a budget of": spelled(plan.budget.asked.model_dump(mode="json"))} if plan.budget else {}),
        "Digest of the plan": plan.digest,
    }


def component(part: PlannedComponent) -> str:
    """Return what was done to a component, in words."""
    asked = part.quantization
    options = spelled(asked.options)
    names, more = list(part.kept)[:KEPT], len(part.kept) - KEPT
    kept = f" {len(part.kept)} Linear modules are kept: {', '.join(names)}" if names else ""
    kept += f" and {more} more." if more > 0 else "." if kept else ""
    return (
        f"{asked.backend} {asked.scheme}{f' ({options})' if options else ''}, the rest in {asked.dtype}. "
        f"{part.tensors} tensors of {part.parameters:,} parameters are quantized, {part.parameters_left:,} parameters "
        f"are not; {human_size(part.source_bytes)} become {human_size(part.result_bytes)}.{kept}"
    )


def spelled(options: Mapping[str, Any]) -> str:
    """Return what a recipe says by keys, in one line; what it leaves out is left out."""
    return ", ".join(f"{name}: {json.dumps(value)}" for name, value in options.items() if value not in (None, [], {}))


def adapter(lora: PlannedLora) -> str:
    """Return what was done with a LoRA, in words."""
    how = "fused into the source" if lora.how == "fused" else "loaded onto source and result"
    return f"{how}, scale {lora.scale}: {lora.file} at {lora.revision}" if lora.repo else f"{how}, scale {lora.scale}"


def asked(validation: PlannedValidation, written: str) -> dict[str, str]:
    """Return what both sides were asked, and who judged.

    Args:
        validation: The questions, as the plan has them.
        written: The file that the recipe takes its prompts from, where that is no dataset.
    """
    judges = {
        f"Judge of {metric}": f"{validation.require.get(metric, {}).get('model', '')} at {pin}".strip()
        for metric, pin in validation.judges.items()
    }
    compiled = validation.compile
    further = any(prompt.files for prompt in validation.prompts)
    return {
        **questions(validation, validation.seeds, validation.call, written),
        **({"Files of the prompts": f"{QUESTIONS}/, each named after its SHA-256"} if further else {}),
        **judges,
        **({"Compiled": f"{', '.join(compiled.components)}, mode {compiled.mode}"} if compiled else {}),
    }


def questions(prompts: PlannedPrompts, seeds: Sequence[int], call: Mapping[str, Any], written: str) -> dict[str, str]:
    """Return what both sides were asked; for ``written`` see ``asked``."""
    dataset = prompts.dataset
    origin = (
        f"the recipe's {written}"
        if dataset is None
        else f"{dataset.where}, of {dataset.rows} rows, seed {dataset.seed}"
    )
    return {
        "Prompts": f"{len(prompts.prompts)} from {origin}",
        "Seeds": ", ".join(map(str, seeds)),
        **{name: json.dumps(value) for name, value in call.items()},
    }

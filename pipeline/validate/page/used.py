"""What a run used: what it made of what, what it asked, and with which versions, as facts by their names."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

from pipeline.files import counted, human_size
from pipeline.hub.release_files import QUESTIONS
from pipeline.plan.model import PlannedComponent, TargetPlan
from pipeline.plan.parts import PlannedLora, PlannedPrompts, PlannedValidation

KEPT: Final = 12  # modules that one component's line names


def used(plan: TargetPlan, written: str) -> dict[str, Mapping[str, str]]:
    """Return what a plan says of a run, under headings; for ``written`` see ``asked``."""
    return {
        "What was made": made(plan),
        "What was asked": asked(plan.validation, written),
        "What the plan pins of versions": plan.versions,
    }


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
    device = validation.device
    further = any(prompt.files for prompt in validation.prompts)
    return {
        **questions(validation, validation.seeds, validation.call, written),
        **({"Files of the prompts": f"{QUESTIONS}/, each named after its SHA-256"} if further else {}),
        **judges,
        **({"Asked in a browser": str(validation.browser.questions)} if validation.browser else {}),
        **({"Compiled": f"{', '.join(compiled.components)}, mode {compiled.mode}"} if compiled else {}),
        **({"Small device": f"{device.memory}, {counted(device.threads, 'thread')}"} if device else {}),
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

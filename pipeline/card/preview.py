"""Rehearsal: the cards of a recipe are written from a recorded report, so that a broken template never meets a release.

What was recorded is of this program; the recipe's own words are put into it. Nothing is asked of a Hub or of torch.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from importlib.resources import files as resources
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from pipeline import recipe as recipes
from pipeline.card.compose import compose_body
from pipeline.card.context import Ingredients
from pipeline.card.metadata import SourceCard
from pipeline.card.render import PACKAGED
from pipeline.errors import CardError
from pipeline.files import ListedFile
from pipeline.plan.footprint import RESERVE, Footprint
from pipeline.plan.ladder import Whole, ladder_of
from pipeline.plan.model import PlannedComponent, TargetPlan
from pipeline.plan.parts import PlannedDataset, PlannedLadder, PlannedLora, PlannedSource
from pipeline.recipe import InvalidRecipe, Loaded, Problem, Quantization, Recipe, Vocabulary, read_prompts
from pipeline.tasks import TASKS
from pipeline.validate import Report

if TYPE_CHECKING:
    from collections.abc import Mapping

    from jinja2 import BaseLoader

GATED: Final = SourceCard({"license": "other", "license_name": "its-own-1.0", "license_link": "LICENSE.md"})
PINNED: Final = ListedFile(size=1, sha256="0" * 64)
LORA: Final = "pytorch_lora_weights.safetensors"  # as diffusers names the only file of a LoRA


def problems(path: Path, vocabulary: Vocabulary, loader: BaseLoader = PACKAGED) -> list[Problem]:
    """List every problem of a recipe; one without any is told where its cards cannot be written.

    Args:
        path: The recipe, or what recipes include.
        vocabulary: The words that it may use.
        loader: Where the templates come from.
    """
    if recipes.is_included(path):
        return recipes.problems_of_included(path, vocabulary)
    try:
        loaded = recipes.load(path, vocabulary, models=True)
    except InvalidRecipe as error:
        return list(error.problems)
    try:
        for scene in scenes(loaded):
            compose_body(scene, loader)
    except CardError as error:
        said = f"no card can be written from this template; {error.where}: {error.what.rstrip('.')}"
        return [recipes.problem_at(loaded, ("card", "template"), said)]
    return []


def scenes(loaded: Loaded) -> Iterator[Ingredients]:
    """Return a card to write for every target, and one of which less is known than of any."""
    plan, report = recorded()
    plans = [planned(plan, loaded, target) for target in loaded.recipe.targets]
    for number, made in enumerate(plans):
        told = report.model_copy(update={"layers": renamed(report, list(plan.components), list(made.components))})
        yield Ingredients(made, told, GATED, executed=number % 2 == 0)
    yield Ingredients(plans[0], bare(report), SourceCard({}), executed=False)


@cache
def recorded() -> tuple[TargetPlan, Report]:
    """Return the plan and the report of a target of the digits recipe, as a run of this program made them."""
    folder = resources("pipeline.cards") / "recorded"
    plan = TargetPlan.model_validate_json((folder / "plan.json").read_bytes())
    return plan, Report.model_validate_json((folder / "report.json").read_bytes())


def planned(plan: TargetPlan, loaded: Loaded, target: str) -> TargetPlan:
    """Return a recorded plan with the words of a recipe in it.

    Raises:
        RecipeError: The recipe's prompts cannot be read.
    """
    recipe = loaded.recipe
    asked = recipe.validation
    validation: dict[str, Any] = {"seeds": asked.seeds, "call": dict(asked.call)}
    validation |= {"compile": asked.compile, "device": asked.device, "browser": asked.browser}
    if isinstance(asked.prompts, str):
        validation["prompts"] = read_prompts(loaded.resolve(asked.prompts), TASKS[recipe.task].form)
    else:
        files = dict.fromkeys(TASKS[recipe.task].files, "0" * 64)  # named after what only the dataset's rows tell
        stand_ins = plan.validation.prompts
        validation["prompts"] = tuple(prompt.model_copy(update={"files": files}) for prompt in stand_ins)
        validation["dataset"] = PlannedDataset(**asked.prompts.model_dump(), rows=len(stand_ins), repeated=0)
    return plan.model_copy(
        update={
            "target": target,
            "task": recipe.task,
            "repository": recipe.repositories[target],
            "source": PlannedSource(**recipe.source.model_dump()),
            "components": components(plan.components, recipe.named(target)),
            "ladder": ladder(plan, recipe) if target in recipe.for_cards else None,
            "loras": loras(recipe),
            "validation": plan.validation.model_copy(update=validation),
            "template": recipe.card.template,
        }
    )


def components(known: Mapping[str, PlannedComponent], named: Mapping[str, Quantization]) -> dict[str, PlannedComponent]:
    """Return what was recorded of components under the names of others, quantized as those; a budget names none."""
    stand_ins = list(known.values())
    made = {
        name: stand_ins[number % len(stand_ins)].model_copy(update={"quantization": quantization})
        for number, (name, quantization) in enumerate(named.items())
    }
    return made or dict(known)


def ladder(plan: TargetPlan, recipe: Recipe) -> PlannedLadder:
    """Return a ladder of a recipe's cards as if the search found what was recorded for all but the largest."""
    asked = recipe.for_cards
    quantized = {name: part.quantization for name, part in plan.components.items()}
    words = {name: part.words for name, part in quantized.items()}
    made = Whole(quantized, words, plan.result_bytes, {"model": plan.result_bytes}, estimated=True)
    largest = max(budget.card_bytes or 0 for budget in asked.values())
    source = Whole({}, {}, plan.source_bytes, {"model": largest - RESERVE})
    taken = Footprint({"model": 0}, {"model": 0})
    return ladder_of(asked, dict.fromkeys(asked, made), source, taken, recipe.repositories, recipe.source.origin)


def loras(recipe: Recipe) -> tuple[PlannedLora, ...]:
    """Return the LoRAs of a recipe as a plan has them."""
    written = (lora.model_dump() for lora in recipe.loras)
    return tuple(PlannedLora(**{**lora, "file": lora.get("file") or LORA, "listed": PINNED}) for lora in written)


def renamed(report: Report, names: list[str], others: list[str]) -> tuple[Any, ...]:
    """Return the layers of a report under the names of other components."""
    to = dict(zip(names, others, strict=False))
    return tuple(
        layer.model_copy(update={"component": to[layer.component]}) for layer in report.layers if layer.component in to
    )


def bare(report: Report) -> Report:
    """Return a report of a GPU with as little in it as a report may have: nothing tried, nothing asked twice."""
    on_gpu = {"device": "cuda, NVIDIA H200", "peak_device_bytes": 1 << 30}
    sides = {side: getattr(report, side).model_copy(update=on_gpu) for side in ("reference", "candidate")}
    unmeasured = {"lpips": "It needs pictures of at least 32 pixels."}
    less = {"layers": (), "uses": (), "floor": None, "unmeasured": unmeasured, "identical": 1}
    return report.model_copy(update={**sides, **less})

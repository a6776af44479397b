"""Comparison: in which words a recipe and a plan that was made of one differ.

Both are laid out from the fields of their types, so that a word which one of them gains and the other does not is a
difference of every recipe until it is compared, or exempted by its name.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from pipeline.files import digest_of
from pipeline.plan.model import RESOLVED, TargetPlan, asked_of, required
from pipeline.recipe import Prompt, Recipe

EXEMPT: Final = {  # fields that are not compared, each with the reason
    "HubSource.token": "who reads a source, which is no part of what is made",
    "Destination.adopt": "what a release may do to others' files, which is no part of what is made",
    "Ladder.cards": "stands for targets with budgets, which are compared",
    "Ladder.backends": "stands in the budgets of those",
    "Ladder.keep": "stands in the budgets of those",
    "Ladder.dtype": "stands in the budgets of those",
    "Ladder.components": "stands in the budgets of those",
    "TargetPlan.target": "names the target of the recipe that is compared",
    "TargetPlan.pipeline": "what the source says",
    "TargetPlan.files": "what the source has, and the source is compared",
    "TargetPlan.source_card": "what the source says",
    "TargetPlan.template_digest": "this program's words for a template, whose name is compared",
    "TargetPlan.source_bytes": "what the source has",
    "TargetPlan.result_bytes": "what comes of it",
    "TargetPlan.versions": "what it was made with",
    "PlannedComponent.library": "what the source says",
    "PlannedComponent.class_name": "what the source says",
    "PlannedComponent.tensors": "what comes of it",
    "PlannedComponent.parameters": "what the source has",
    "PlannedComponent.parameters_left": "what comes of it",
    "PlannedComponent.kept": "what comes of it; what is to be kept is compared",
    "PlannedComponent.source_bytes": "what the source has",
    "PlannedComponent.result_bytes": "what comes of it",
    "PlannedComponent.largest_bytes": "what the source has",
    "PlannedComponent.stored": "what comes of it",
    "PlannedComponent.file": "follows from source, component and scheme, which are compared",
    "PlannedComponent.estimated": "what comes of it",
    "TargetPlan.ladder": "what was found here for it and its siblings, whose budgets are compared",
    "PlannedBudget.found": "what was found here; the budget is compared",
    "PlannedBudget.runner_up": "what was found here",
    "PlannedLora.listed": "what its place has, and the place is compared",
    "PlannedDataset.rows": "what the dataset has, and its commit is compared",
    "PlannedDataset.repeated": "what the dataset has",
}


@dataclass(frozen=True)
class Difference:
    """A word in which they differ, with its value in both; None where one of them lacks it."""

    word: str
    recipe: Any
    plan: Any


def differences(
    recipe: Recipe, target: str, plan: TargetPlan, prompts: Sequence[Prompt] | None = None
) -> list[Difference]:
    """Return the words in which a recipe says of a target something else than a plan.

    Args:
        recipe: The recipe.
        target: A target of it.
        plan: The plan.
        prompts: What the recipe's file of prompts says, where it is at hand.
    """
    said, planned = flat(asked_by(recipe, target, prompts)), flat(asked_in(plan))
    if isinstance(recipe.validation.prompts, str) and prompts is None and plan.validation.dataset is None:
        planned["prompts"] = None  # nobody knows what its file says
    open_words = {word for word in planned.keys() - said.keys() if left_open(word, said)}
    words = [word for word in {**planned, **said} if word not in open_words and said.get(word) != planned.get(word)]
    return [Difference(word, said.get(word), planned.get(word)) for word in words]


def left_open(word: str, said: Mapping[str, Any]) -> bool:
    """Return whether a recipe leaves this word to the plan: which file of a LoRA, or which content of a judge."""
    first, *_, last = word.split(".")
    return first == "judges" or (first == "loras" and last == "file" and f"{word.removesuffix('file')}how" in said)


def asked_by(recipe: Recipe, target: str, prompts: Sequence[Prompt] | None) -> dict[str, Any]:
    """Return what a recipe says of a target, by the words of a plan."""
    words = recipe.model_dump(mode="json", exclude_none=True, exclude={"targets", "destination"})
    words |= words.pop("validation") | words.pop("card")
    if isinstance(recipe.validation.prompts, str):
        words["prompts"] = None if prompts is None else digest_of_prompts(prompts)
    budget = recipe.budget(target)
    return words | {
        "repository": recipe.repositories[target],
        "private": recipe.destination.private,
        "build": recipe.build,
        "components": {name: asked_of(part) for name, part in recipe.named(target).items()},
        "further": {name: numbered(list(map(asked_of, parts))) for name, parts in recipe.further(target).items()},
        "budget": budget.model_dump(mode="json", exclude_none=True) if budget else {},
        "loras": numbered(words.get("loras", [])),
        "require": required(recipe.task, words["require"]),
        "judges": {name: commit for name, (_, commit) in recipe.validation.require.judged.items() if commit},
    }


def asked_in(plan: TargetPlan) -> dict[str, Any]:
    """Return the same words as a plan has them."""
    apart: dict[str, Any] = {"target": True, "files": True, "source_card": True, "loras": {"__all__": {"listed"}}}
    words = plan.model_dump(mode="json", exclude_none=True, exclude={**RESOLVED, **apart})
    words |= words.pop("validation")
    words["prompts"] = words.pop("dataset", None) or digest_of_prompts(plan.validation.prompts)
    return words | {
        "build": plan.build,
        "components": {name: asked_of(part) for name, part in plan.named.items()},
        "further": {
            name: numbered([asked_of(part.quantization) for part in parts]) for name, parts in plan.further.items()
        },
        "budget": words.get("budget", {}).get("asked", {}),
        "loras": numbered(words.get("loras", [])),
        "require": required(plan.task, plan.validation.require),
    }


def digest_of_prompts(prompts: Sequence[Prompt]) -> str:
    """Return what names some prompts with their labels."""
    return digest_of(
        [[prompt.prompt, prompt.label, *sorted(prompt.files.items()), *words_of(prompt)] for prompt in prompts]
    )


def words_of(prompt: Prompt) -> list[Any]:
    """Return what else is said in a prompt, where something is."""
    further = prompt.model_dump(mode="json", include={"messages", "text"})
    return [further] if further else []


def numbered(values: Sequence[Any]) -> dict[str, Any]:
    """Return a list by its places."""
    return {str(at): value for at, value in enumerate(values)}


def flat(value: Mapping[str, Any], before: str = "") -> dict[str, Any]:
    """Return nested words as ``a.b.c``; a mapping that is empty has none."""
    return dict(leaves(value, before))


def leaves(value: Mapping[str, Any], before: str) -> Iterator[tuple[str, Any]]:
    """Yield every value that is no mapping by its words."""
    for name, inner in value.items():
        if isinstance(inner, Mapping):
            yield from leaves(inner, f"{before}{name}.")
        else:
            yield f"{before}{name}", inner

"""The ladder: what a recipe has for each card, be it what another card gets, or the source as it is.

A card gets what leaves the least noise and runs on it with one component there at a time, which costs seconds
(``enable_model_cpu_offload``); one weight at a time takes minutes and is never counted on. Where all of something that
is nearly as good (`NEARLY`) has room there at once, it gets that, and nothing has to be moved for each picture.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from pipeline.plan.budget import Choice
from pipeline.plan.footprint import Footprint
from pipeline.plan.parts import LadderStep, PlannedLadder
from pipeline.recipe import Budget, Quantization

NEARLY: Final = 3.0  # decibels: twice the noise, where the next scheme of fewer bits has ten times as much or more


@dataclass(frozen=True)
class Whole:
    """A source with what is done to some of its components.

    Attributes:
        quantized: What is done to each of those.
        words: The same as backend and scheme.
        bytes: Bytes of the files.
        weights: Bytes of each component when it is loaded.
        estimated: Whether what a scheme states is in these.
        sqnr: Decibels of signal over noise that are expected; None where nothing is done.
    """

    quantized: Mapping[str, Quantization]
    words: Mapping[str, str]
    bytes: int
    weights: Mapping[str, int]
    estimated: bool = False
    sqnr: float | None = None


def at_once_first(best: Sequence[Choice], card: int, takes: Callable[[Choice], int]) -> list[Choice]:
    """Return choices, first the best of those that are nearly as good as any and have room on a card as a whole.

    Args:
        best: What runs on the card, the best first.
        card: Its bytes.
        takes: Returns the bytes of a card that all of a choice takes.
    """
    most = best[0].noise * 10 ** (NEARLY / 10) if best else 0.0
    found = next((choice for choice in best if choice.noise <= most and takes(choice) <= card), None)
    return [found, *(choice for choice in best if choice is not found)] if found else [*best]


def ladder_of(
    asked: Mapping[str, Budget],
    found: Mapping[str, Whole],
    source: Whole,
    footprint: Footprint,
    repositories: Mapping[str, str],
    origin: str,
) -> PlannedLadder:
    """Return what there is for each card, the smallest first.

    Nothing is published twice: a card for which the search found what one gets that the recipe names before it takes
    that one's repository, and where the source itself runs, nothing is quantized for it. So a card that is added behind
    the others leaves what they have where it is.

    Args:
        asked: The budget of each target that is for a card, in the order of the recipe.
        found: What the search found for each.
        source: The source with nothing done to it.
        footprint: What its components take beside their weights.
        repositories: The repository of each target.
        origin: The source's repository, or its folder.
    """
    steps: list[LadderStep] = []
    for target, budget in asked.items():
        card = budget.card_bytes or 0
        runs = footprint.memory(source.weights)["model"].total <= card
        whole = source if runs else found[target]
        same = [step.target for step in steps if step.published and found[step.target].quantized == whole.quantized]
        taken = "" if runs else same[0] if same else target
        memory = footprint.memory(whole.weights)
        steps.append(
            LadderStep(
                target=target,
                card=str(budget.card),
                taken=taken,
                repository=repositories[taken] if taken else origin,
                components=dict(whole.words),
                bytes=whole.bytes,
                estimated=whole.estimated,
                sqnr=whole.sqnr,
                offload="none" if memory["none"].total <= card else "model",
                memory=memory,
            )
        )
    return PlannedLadder(steps=tuple(sorted(steps, key=lambda step: asked[step.target].card_bytes or 0)))

"""Text classification: a text gets one of the labels that its model knows."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated

from pydantic import Field

from pipeline.recipe.clause import RecipeModel, optional
from pipeline.recipe.require import SIZE_RATIO_MEANS, RatioAtMost, Requirements
from pipeline.recipe.schema import Seed, Validation
from pipeline.tasks.answers import Request
from pipeline.tasks.feature_extraction import EMBEDDINGS
from pipeline.tasks.metrics import MetricInput, PairMetric, Reading, metrics_of
from pipeline.tasks.protocol import Given, LoadedModel, Task
from pipeline.tasks.transformers_model import load


def _agreement(given: MetricInput) -> list[Reading]:
    return [Reading(float(pair.reference.argmax() == pair.candidate.argmax())) for pair in given.pairs]


class ShareAtLeast(RecipeModel):
    """A lower bound of a share."""

    min: float = Field(ge=0, le=1, description="The least share that passes.")


class Require(Requirements):
    """What a target must reach to be published; at least one requirement."""

    agreement: Annotated[
        ShareAtLeast | None, PairMetric("", "higher", _agreement, span=(0.0, 1.0), ends=(0.0, 1.0))
    ] = optional("Share of texts that get the label that the source gives them.")
    size_ratio: RatioAtMost | None = optional(SIZE_RATIO_MEANS)


class TextClassificationValidation(Validation):
    """How the targets are judged against the source."""

    seeds: tuple[Seed, ...] = Field(default=(0,), max_length=1, description="Labels depend on no seed; leave this out.")
    require: Require = Field(description="What a target must reach to be published.")


def ask(loaded: LoadedModel, request: Request, question: int, _seed: int) -> Given:
    """Return the probability of each label, as an array of shape (labels,)."""
    import torch

    classifier = loaded.model
    tokens = classifier.tokenizer([request.questions[question].prompt], return_tensors="pt")
    with torch.no_grad():
        return Given(classifier.model(**tokens).logits[0].softmax(0).float().numpy())


TEXT_CLASSIFICATION = Task(
    medium=replace(EMBEDDINGS, noun="label", metrics=metrics_of(Require), ranking="agreement"),
    validation=TextClassificationValidation,
    library="transformers",
    loader="AutoModelForSequenceClassification",
    usage="classifier.py.jinja",
    installs=("transformers", "accelerate"),
    imports=("transformers",),
    load=load,
    ask=ask,
    seeded=False,
    single=True,
)

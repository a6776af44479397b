"""Does a picture show what its prompt's label says, as an image classifier sees it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.errors import RecipeError
from pipeline.recipe.problems import nearest
from pipeline.tasks.images.embedders import load_model, once, pixels_of
from pipeline.tasks.metrics import MetricInput, Pair, PairMetric, Reading

if TYPE_CHECKING:
    from PIL import Image

CALLED = "image classification"


@dataclass(frozen=True)
class Classifier:
    """An image classifier: the labels that it knows, and the one that it gives a picture."""

    labels: frozenset[str]
    read: Callable[[Image.Image], str]


@lru_cache(maxsize=1)
def open_classifier(folder: Path) -> Classifier:
    """Open an image classifier with its processor, as ``microsoft/resnet-50`` has them.

    A picture gets the label of the largest logit, as ``id2label`` of the model's config words it.

    Raises:
        RecipeError: There is no image classifier in the folder.
    """
    import torch
    from transformers.models.auto.modeling_auto import MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING_NAMES as KINDS

    model, pixels = load_model("AutoModelForImageClassification", folder, CALLED, KINDS), pixels_of(folder, CALLED)
    words: dict[int, str] = model.config.id2label

    def read(picture: Image.Image) -> str:
        with torch.inference_mode():
            return words[int(model(**pixels(picture)).logits[0].argmax())]

    return Classifier(frozenset(words.values()), once(read))


def _label_accuracy(given: MetricInput) -> list[Reading]:
    """1 where the classifier gives the picture the prompt's label, else 0, for both sides.

    Labels are compared as they stand, case included: a model may know ``Polish`` and ``polish``. One that it does not
    know, which no picture could have, is the recipe's mistake and no wrong picture.
    """
    folder = given.judges["label_accuracy"]
    classifier = open_classifier(folder)
    for pair in given.pairs:
        if pair.label not in classifier.labels:
            raise _unknown(str(pair.label), classifier, folder)

    def right(pair: Pair, picture: Image.Image) -> float:
        return float(classifier.read(picture) == pair.label)

    return [Reading(right(pair, pair.candidate), right(pair, pair.reference)) for pair in given.pairs]


def _unknown(label: str, classifier: Classifier, folder: Path) -> RecipeError:
    meant = nearest(label, classifier.labels)
    return RecipeError(
        f"The model of label_accuracy knows no label {label!r}" + (f"; did you mean {meant!r}?" if meant else "."),
        where=str(folder),
        remedy="Write the labels of the prompts as id2label of its config.json has them, case included.",
    )


def _lacks(given: MetricInput) -> str:
    if "label_accuracy" not in given.judges:
        return f"an {CALLED} model, named under label_accuracy.model"
    return "" if all(pair.label for pair in given.pairs) else "a label of every prompt"


LABEL_ACCURACY = PairMetric("", "higher", _label_accuracy, _lacks, span=(0.0, 1.0), ends=(0.0, 1.0))

"""Subject: what a source is for and how it is called, from its index, its configs and its card."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import PurePath
from typing import Final

from pipeline.errors import RecipeError, SourceError
from pipeline.fleet.starter.calls import Setting, caller, defaults, sample_size, tasks_of
from pipeline.plan.footprint import halved
from pipeline.recipe.problems import listed, unknown
from pipeline.source.layout import MODEL, Component, Layout, Place, read_json
from pipeline.source.model_card import repeated_fields
from pipeline.tasks import TASKS
from pipeline.tasks.automatic_speech_recognition import TRANSCRIPTS
from pipeline.tasks.text_generation import ANSWERS
from pipeline.tasks.texts.language_model import NEW_TOKENS

TOKENIZERS: Final = ("tokenizer", "vocab")  # what the names of a tokenizer's files begin with
PICTURED: Final = "image-text-to-text"  # the Hub's word, for names of classes do not tell
EMBEDS: tuple[str, ...] = ("feature-extraction", "sentence-similarity")  # the Hub's words for what makes embeddings
POOLINGS = {"pooling_mode_mean_tokens": "mean", "pooling_mode_cls_token": "cls", "pooling_mode_lasttoken": "last"}
LARGEST: Final = 8192  # pixels along a side; a config that says more of them is none to follow
POOLING = "1_Pooling/config.json"  # where sentence-transformers keeps it


@dataclass(frozen=True)
class Subject:
    """A source as a recipe speaks of it.

    Attributes:
        task: What it is for.
        call: The settings of its call.
        caller: The class whose defaults those are.
        license: What its card says of its license; empty where it says nothing.
    """

    task: str
    call: dict[str, Setting | str]
    caller: str
    license: str


def look_at(place: Place, layout: Layout, task: str) -> Subject:
    """Find out what a source is for.

    Args:
        place: Where it lies.
        layout: Its components.
        task: The task that somebody named; empty where nobody did.

    Raises:
        RecipeError: It may be for several tasks, or is for another kind than the one that was named.
        SourceError: It is for none that is known.
    """
    card = repeated_fields(place)
    tag = str(card.get("pipeline_tag", ""))
    said = str(card.get("license_name") or card.get("license") or "")
    if task and task not in TASKS:
        what, meant = unknown("task", task, TASKS)
        likely = f"Did you mean {meant}? " if meant else ""
        raise RecipeError(f"--task names an {what}.", remedy=f"{likely}The tasks are {listed(TASKS, 'and')}.")
    task = task or task_of(place, layout, tag)
    if TASKS[task].medium is ANSWERS:
        return Subject(task, {"max_new_tokens": str(NEW_TOKENS)}, layout.class_name, said)
    if TASKS[task].medium is TRANSCRIPTS:
        return Subject(task, {}, layout.class_name, said)
    if TASKS[task].single:
        return Subject(task, {"pooling": pooling(place), "normalize": "true"}, layout.class_name, said)
    kind = caller(task, layout.class_name)
    return Subject(task, {**size(place, layout, kind), **defaults(kind)}, kind, said)


def task_of(place: Place, layout: Layout, tag: str) -> str:
    """Return what a source is for."""
    single = layout.components.get(MODEL)
    found = tasks_of_model(single, tag) if single else tasks_of(layout.class_name)
    if tag in found:
        return tag
    if len(found) == 1:
        return found[0]
    if found:
        what = f"A {layout.class_name} may be for {listed(found)}, and its card says nothing of it."
        raise RecipeError(what, where=place.where, remedy=f"Say which with --task, such as --task {found[0]}.")
    what = (
        f"A {layout.class_name}{f' for {tag}' if tag else ''} is for none of {listed(TASKS)} as far as is known here."
    )
    remedy = (
        "Name the task with --task if it is for one of them; `publish quantize` quantizes any model without publishing."
    )
    raise SourceError(what, where=place.where, remedy=remedy)


def tasks_of_model(model: Component, tag: str) -> list[str]:
    """Return what a single model of transformers may be for that reads text: without a head it makes embeddings."""
    if model.library != "transformers" or not any(PurePath(file).name.startswith(TOKENIZERS) for file in model.small):
        return []
    heads = {
        "text-generation": model.class_name.endswith("ForCausalLM"),
        "image-text-to-text": tag == PICTURED,
        "automatic-speech-recognition": model.class_name == "WhisperForConditionalGeneration",
    }
    headless = model.class_name.endswith("Model") or tag in EMBEDS
    return [*(task for task, has in heads.items() if has), *(["feature-extraction"] if headless else [])]


def pooling(place: Place) -> str:
    """Return how a sentence embedder pools, mean where its files say nothing that is known here."""
    said = read_json(place, POOLING) if POOLING in place.files else {}
    return next((word for key, word in POOLINGS.items() if said.get(key) is True), "mean")


def size(place: Place, layout: Layout, kind: str) -> dict[str, Setting | str]:
    """Return the height and width that a pipeline draws unless said otherwise, where class and configs tell."""
    parts = layout.components.items()
    configs = {name: read_json(place, part.config) for name, part in parts if has_config(place, part)}
    sizes = [config.get("sample_size") for name, config in configs.items() if name in {"unet", "transformer"}]
    side, factor = sample_size(kind) or next(iter(sizes), None), halved(configs.get("vae", {}))
    drawn = side * factor if isinstance(side, int) else 0
    return {"height": drawn, "width": drawn} if 0 < drawn <= LARGEST else {}


def has_config(place: Place, part: Component) -> bool:
    """Return whether a component has weights and a config."""
    return bool(part.weights) and part.config in place.files

"""The stand-in: a small model that takes the place of a recipe's source.

A source that is small stands for itself, as does a folder ``source`` beside the recipe, which its author pushed. Else a
tiny model of random weights is made of the source's own class, where something says which that is: its
``model_index.json`` or ``config.json``, or the tags of a gated repository. Else it is the digits model where the
checkout has it, or the simplest model of the task.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Final

from pipeline.errors import CannotHereError, PublishError
from pipeline.files import write_atomically
from pipeline.hub.client import Hub
from pipeline.hub.retry import BRIEF
from pipeline.recipe import HubSource, Loaded
from pipeline.recipe.names import name_of_source
from pipeline.source.layout import Folder, Place, read_json, read_small
from pipeline.tasks import TASKS, Task
from pipeline.worker.session import WorkerDiedError, ask_worker, error_of

SMALL: Final = 128 << 20  # bytes of a source that stands for itself
STEPS: Final = "num_inference_steps"
FEWEST: Final = 2
INDEX: Final = "model_index.json"
CONFIG: Final = "config.json"
DIGITS: Final = Path("recipes/digits/source")
FOR_PICTURES: Final = "text-to-image"  # what the digits model is for
SIMPLEST: Final = {"text-to-video": "WanPipeline"}  # of any other task it is FLUX.1
TOKENIZER: Final = (
    "*processor_config.json",
    "generation_config.json",
    "chat_template.*",
    "tokenizer*",
    "vocab.*",
    "merges.txt",
    "special_tokens_map.json",
    "added_tokens.json",
    "*.model",
)
CARD: Final = ("README.md",)


@dataclass(frozen=True)
class StandIn:
    """A small model in the place of a source.

    Attributes:
        folder: Where it lies.
        what: What it is, for people.
        itself: Whether it is the source.
        fits: Whether its components and modules are called as the source's.
        trained: Whether its weights are.
        takes: The arguments that its call takes; None where they are the source's.
        call: Arguments that make its answers small.
    """

    folder: Path
    what: str
    itself: bool = False
    fits: bool = True
    trained: bool = False
    takes: frozenset[str] | None = None
    call: Mapping[str, Any] = field(default_factory=dict)

    def called(self, written: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
        """Return what it is called with in place of a recipe's ``call``, and what of that it does not take."""
        steps = written.get(STEPS)
        fewer = {STEPS: min(steps, FEWEST)} if isinstance(steps, int) else {}
        strange = [name for name in written if self.takes is not None and name not in self.takes]
        asked = {name: value for name, value in written.items() if name not in strange}
        return {**asked, **self.call, **fewer}, strange


def stand_in(loaded: Loaded, hub: Hub, folder: Path) -> StandIn:
    """Return the stand-in for a recipe's source.

    Args:
        loaded: The recipe.
        hub: Where its source may lie; where it does not answer soon, nothing is known of the source.
        folder: Where a model is made.

    Raises:
        CannotHereError: A library that makes it is missing.
        QuantizationError: A library failed to make it.
    """
    source, task = loaded.recipe.source, TASKS[loaded.recipe.task]
    beside = loaded.resolve("source" if isinstance(source, HubSource) else source.path).resolve()
    if source.variant is None and is_small(beside, task):
        return StandIn(beside, f"the source itself, {beside}", itself=True, trained=True)
    place = readable(loaded, hub, task)
    kind = class_of(place, task) if place else class_at(hub, source.origin) if isinstance(source, HubSource) else ""
    digits = None if kind or loaded.recipe.task != FOR_PICTURES else digits_near(loaded.path)
    if digits:
        said = ask({"folder": str(digits), "loader": task.loader, "class": "", "otherwise": ""})
        what = "the digits model, for the source cannot be read"
        return StandIn(digits, what, fits=False, trained=True, takes=frozenset(said["takes"]), call=said["call"])
    made = folder / name_of_source(source.origin)
    config = read_json(place, CONFIG) if place and task.single else None
    otherwise = SIMPLEST.get(loaded.recipe.task, "FluxPipeline")
    asked = {"loader": task.loader, "single": task.single, "config": config, "class": kind, "otherwise": otherwise}
    said = ask({**asked, "folder": str(made)})
    if place and said["fits"]:
        repeat(place, made, CARD + TOKENIZER if task.single else CARD)
    why = f"nothing small is known of {kind}" if kind else "the source cannot be read"
    what = f"a tiny {said['of']} of random weights" + ("" if said["fits"] else f", for {why}")
    takes = None if said["exact"] else frozenset(said["takes"])
    return StandIn(made, what, fits=said["fits"], takes=takes, call=said["call"])


def is_small(folder: Path, task: Task) -> bool:
    """Return whether a folder holds a model that can stand for itself."""
    if not (folder / (CONFIG if task.single else INDEX)).is_file():
        return False
    return sum(file.size for file in Folder(folder).files.values()) <= SMALL


def readable(loaded: Loaded, hub: Hub, task: Task) -> Place | None:
    """Return the source, if it can be read here and now."""
    source = loaded.recipe.source
    try:
        if isinstance(source, HubSource):
            place: Place = hub.with_patience(BRIEF).source(source.repo, source.revision)
        else:
            place = Folder(loaded.resolve(source.path))
        read_json(place, CONFIG if task.single else INDEX)
    except PublishError:
        return None
    return place


def class_of(place: Place, task: Task) -> str:
    """Return the class of a source."""
    found = read_json(place, CONFIG if task.single else INDEX)
    return str(found.get("model_type" if task.single else "_class_name", ""))


def class_at(hub: Hub, repo: str) -> str:
    """Return the class that a Hub names among the tags of a repository, which no gate hides, or nothing."""
    try:
        return hub.with_patience(BRIEF).pipeline_class(repo)
    except PublishError:
        return ""


def digits_near(recipe: Path) -> Path | None:
    """Return the digits model of the checkout that holds a recipe, if it has it."""
    found = (above / DIGITS for above in recipe.resolve().parents)
    return next((folder for folder in found if (folder / INDEX).is_file()), None)


def ask(job: Mapping[str, Any]) -> dict[str, Any]:
    """Have a tiny model made in a process of its own, and return what is known of it.

    Raises:
        CannotHereError: A library is missing.
        QuantizationError: A library failed to make it.
    """
    try:
        (said,) = ask_worker("pipeline.trial.worker", [json.dumps(job)])
    except WorkerDiedError as error:
        raise CannotHereError(f"No tiny model could be made: {error}.", where=job["folder"]) from error
    if "error" in said:
        raise error_of(said, job["folder"])
    return said


def repeat(place: Place, folder: Path, patterns: tuple[str, ...]) -> None:
    """Put small files of a source beside its stand-in."""
    for name in place.files:
        if any(fnmatchcase(name, pattern) for pattern in patterns):
            write_atomically(folder / name, read_small(place, name))

"""Start: a model found, looked at, and written down as a recipe with all that it names."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from pipeline.errors import CannotHereError, RecipeError, SourceError
from pipeline.files import write_atomically
from pipeline.fleet.starter.needs import KnownScheme, Weights, serve, weigh
from pipeline.fleet.starter.questions import CLIPS, questions_for, write_pictures
from pipeline.fleet.starter.recipe import Draft, written
from pipeline.fleet.starter.schema import SCHEMA, schema_for
from pipeline.fleet.starter.subject import Subject, look_at
from pipeline.hub.client import Hub
from pipeline.hub.errors import GatedError
from pipeline.hub.source import Repository
from pipeline.recipe.names import UnfitError, repository
from pipeline.source.classes import FULL_PRECISION, quantized_already
from pipeline.source.layout import Folder, Layout, read_json, read_source
from pipeline.tasks import TASKS

UNFIT_NAME = "A recipe names a repository with its namespace, such as google-bert/bert-base-uncased."


@dataclass(frozen=True)
class Found:
    """A source that was looked at: index, configs and headers, no weights."""

    place: Repository | Folder
    layout: Layout
    variant: str
    subject: Subject
    weights: Weights


class Started(BaseModel):
    """What was written.

    Attributes:
        recipe: The file of the recipe.
        prompts: The file of its prompts; empty where they are those of a dataset.
        new: The files that were not there before.
        task: What the model is for.
        targets: The targets' names with the needs that each serves.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    recipe: str
    prompts: str
    new: tuple[str, ...]
    task: str
    targets: dict[str, tuple[str, ...]]


def locate(repo: str, revision: str | None, hubs: Sequence[Hub]) -> Repository:
    """Return a repository at a revision, its newest commit by default, of the first Hub that has it.

    Raises:
        SourceError: None has it, or it is gated.
        HubUnavailableError: A Hub does not answer.
    """
    found = ((hub, commit) for hub in hubs if (commit := hub.find(repo, revision)))
    hub, commit = next(found, (hubs[-1], revision or "main"))
    with conditions_told(hub, repo):
        return hub.source(repo, commit)


def find(place: Repository | Folder, task: str, variant: str) -> Found:
    """Look at a source.

    Args:
        place: Where it lies.
        task: What it is for, where somebody said so.
        variant: The variant of its weights, where somebody named one.

    Raises:
        RecipeError: It may be for several tasks.
        SourceError: It is gated, no model, or for no task that is known.
        HubUnavailableError: The Hub does not answer.
    """
    with conditions_told(place.hub, place.repo) if isinstance(place, Repository) else nullcontext():
        known = TASKS.get(task)
        layout = known.layout(place, variant or None) if known else read_source(place, variant or None)
        require_full_precision(place, layout)
        subject = look_at(place, layout, task)
        return Found(place, layout, variant, subject, weigh(place, layout, subject.call, subject.task))


def require_full_precision(place: Repository | Folder, layout: Layout) -> None:
    """Refuse a source that somebody quantized before.

    Raises:
        SourceError: The config of a component says so.
    """
    for part in layout.components.values():
        config = read_json(place, part.config) if part.weights and part.config in place.files else {}
        if what := quantized_already(part.class_name, config):
            raise SourceError(what, where=place.where, remedy=FULL_PRECISION)


@contextmanager
def conditions_told(hub: Hub, repo: str) -> Iterator[None]:
    """Say of a source that turns out to be gated what is to be accepted, and where."""
    try:
        yield
    except GatedError as error:
        said = hub.license(repo)
        under = f", under the license {said}" if said else ""
        remedy = (
            f"Accept it at {hub.endpoint}/{repo}, signed in as the owner of your token (HF_TOKEN, or hf auth login), "
            "then run the same command again."
        )
        what = f"The source is gated{under}, and this token has no access."
        raise SourceError(what, where=repo, remedy=remedy) from error


def start(found: Found, out: Path, namespace: str, needs: Sequence[str]) -> Started:
    """Write a recipe, and the prompts and the schema that it names where there are none.

    Args:
        found: The source.
        out: The recipe's file.
        namespace: Where its targets are published.
        needs: What it is for; the smallest card that is enough, and the CPU, where there is none.

    Raises:
        RecipeError: The file is there, a card is too small, or the source's name is none that recipes take.
        CannotHereError: The disk is full, or nothing can be written there.
    """
    require_new(out)
    place, folder = found.place, out.parent
    served = serve(found.weights, needs, place.where)
    prompts, contents = questions_for(found.subject.task, out)
    schema, schema_text = schema_for(folder)
    draft = Draft(
        title=title(place),
        origin=origin(place, folder),
        revision=place.revision if isinstance(place, Repository) else "",
        variant=found.variant,
        namespace=namespace,
        subject=found.subject,
        weights=found.weights,
        served=tuple(served),
        prompts=prompts,
        ratio=max(ratio(found, each.scheme) for each in served),
        class_name=found.layout.class_name,
        schema=schema,
    )
    contents[out.name] = written(draft).encode()
    contents |= {SCHEMA: schema_text} if schema_text else {}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if prompts in contents:
            write_pictures(found.subject.task, folder)
        for name, content in contents.items():
            write_atomically(folder / name, content)
    except OSError as error:
        what = f"This file cannot be written ({error.strerror})."
        raise CannotHereError(what, where=str(out), remedy="Name another with --out.") from error
    return Started(
        recipe=str(out),
        prompts="" if prompts == CLIPS else str(folder / prompts),
        new=tuple(str(folder / name) for name in contents),
        task=found.subject.task,
        targets={scheme.target: tuple(each.need for each in group) for scheme, group in draft.targets.items()},
    )


def title(place: Repository | Folder) -> str:
    """Return a source's own name: the last part of the repository's or of the folder's."""
    return place.repo.rpartition("/")[2] if isinstance(place, Repository) else place.path.resolve().name


def ratio(found: Found, scheme: KnownScheme) -> float:
    """Return the bytes of a target over those of its source, as far as they can be reckoned; small files in both."""
    files, parts = found.place.files, found.weights.parts
    every = sum(files[name].size for name in found.layout.wanted)
    quantized = found.weights.quantized(scheme)
    before = sum(files[file].size for name in quantized for file in found.layout.components[name].weights)
    return (every - before + sum(parts[name].size(scheme) for name in quantized)) / every


def require_new(out: Path) -> None:
    """Refuse to write over a file.

    Raises:
        RecipeError: There is one, or a link to nothing.
    """
    if os.path.lexists(out):
        remedy = f"Name another with --out, or check the one that is there: publish check {out}."
        raise RecipeError("This file is there already, and is left as it is.", where=str(out), remedy=remedy)


def origin(place: Repository | Folder, folder: Path) -> str:
    """Return a source as a recipe in a folder names it.

    Raises:
        RecipeError: Its repository has no namespace.
    """
    if isinstance(place, Folder):
        relative = os.path.relpath(place.path.resolve(), folder.resolve())
        return relative if relative.startswith("..") else f"./{relative}"
    try:
        return repository(place.repo)
    except UnfitError as error:
        raise RecipeError(f"{error}.", where=place.repo, remedy=UNFIT_NAME) from error

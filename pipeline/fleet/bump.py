"""Bump: a recipe's repositories moved to the newest commits of their ``main``, with what differs there."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Final

from pydantic import BaseModel, ConfigDict, Field
from ruamel.yaml.error import YAMLError

from pipeline.errors import RecipeError, SourceError
from pipeline.files import write_atomically
from pipeline.fleet.commits import Differences, files_between, models_between
from pipeline.fleet.starter.recipe import relicensed
from pipeline.hub.client import Gate
from pipeline.recipe import InvalidRecipe, Loaded, Recipe, Vocabulary, load, read_recipe
from pipeline.recipe.build import numbered
from pipeline.recipe.names import COMMIT
from pipeline.recipe.pins import Kind, Pin, find_pins, pinned
from pipeline.run import Engine

STAND_IN: Final = "0" * 40  # for a commit that is yet to be found


class BumpedPin(BaseModel):
    """One repository of a recipe.

    Attributes:
        before: The commit that the recipe pinned; empty where it pinned none.
        after: The newest commit of its ``main``.
        gate: How it asks for access now, if it does.
        differences: What changes between the two commits; none where they are the same, or the first is not known.
        note: Why the first commit was not compared.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Kind
    repo: str
    before: str
    after: str
    gate: Gate | None = None
    differences: Differences | None = None
    note: str = ""

    @property
    def moved(self) -> bool:
        """Whether the recipe pins another commit than the newest, or none."""
        return self.before != self.after


class Bumped(BaseModel):
    """What became of a recipe.

    Attributes:
        moved: Whether there are newer commits than it pinned, or it lacked one, or all of it is to be built again.
        written: Whether its file was changed.
        build: The number of the build that is to come, where it was asked for.
        text: What the file says then, which is not shown; empty where that has to be written by hand.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    recipe: str
    moved: bool
    written: bool
    pins: tuple[BumpedPin, ...] = ()
    build: int | None = Field(default=None, exclude_if=lambda value: value is None)
    text: str = Field(default="", exclude=True)


def bump(loaded: Loaded, engine: Engine, kinds: Collection[Kind], *, write: bool) -> Bumped:
    """Move the commits of a recipe, and fill in every one that it lacks.

    Args:
        loaded: The recipe, as `fill` reads it.
        engine: What finds its repositories.
        kinds: Whose commits are moved.
        write: Whether its file is changed.

    Raises:
        RecipeError: It names no repository whose commit is to be moved, or its file changed meanwhile, cannot be
            written, or has a commit in a form that no other takes the place of.
        SourceError: A repository is not there, is refused, or its newest commit cannot be read.
        HubUnavailableError: The Hub does not answer.
    """
    text, source = loaded.text.decode(), loaded.recipe.source
    wanted = [pin for pin in find_pins(text) if pin.kind in kinds or lacks_commit(pin)]
    if not wanted:
        what = "It names no repository on the Hub whose commit is to be moved."
        remedy = "A source in a folder has none; --loras, --judges and --datasets move those of others. "
        remedy += "What an included file names is moved by hand."
        raise RecipeError(what, where=str(loaded.path), remedy=remedy)
    found = {pin: newest(pin, engine, source.variant) for pin in wanted}
    moving = {pin: each.after for pin, each in found.items() if each.moved}
    try:
        text = rewritten(text, moving, loaded.path) if moving else text
    except RecipeError:
        if write:
            raise
        text = ""
    for each in found.values():
        if license_moved := each.differences and licenses(each.differences):
            text = relicensed(text, *license_moved)
    if moving and write:
        _write(loaded, text)
    pins = tuple(found.values())
    return Bumped(recipe=str(loaded.path), moved=bool(moving), written=bool(moving) and write, pins=pins, text=text)


def bump_build(loaded: Loaded, vocabulary: Vocabulary, *, write: bool) -> Bumped:
    """Count up the build of a recipe, so that all of it is made again.

    Args:
        loaded: The recipe, as `fill` reads it.
        vocabulary: What its words may be.
        write: Whether its file is changed.

    Raises:
        RecipeError: Its file changed meanwhile, cannot be written, or has the number in a form that no other takes the
            place of.
    """
    path, number = loaded.path, loaded.recipe.build + 1
    text = numbered(loaded.text.decode(), number)
    try:
        found = filled(text.encode(), path, vocabulary)
    except (YAMLError, InvalidRecipe):
        found = None
    if found != loaded.recipe.model_copy(update={"build": number}):
        remedy = f"Write `build: {number}` into a line of its own by hand."
        raise RecipeError("The number of its build cannot be raised where it stands.", where=str(path), remedy=remedy)
    if write:
        _write(loaded, text)
    return Bumped(recipe=str(path), moved=True, written=write, build=number, text=text)


def licenses(differences: Differences) -> tuple[str, str] | None:
    """Return the licenses of two commits as a recipe's first line says them; None where they are the same."""
    rows = [differences.license[key] for key in ("license_name", "license") if key in differences.license]
    before, after = (next((row[side] for row in rows if row[side]), None) for side in (0, 1))
    return (before, after) if before and after else None


def rewritten(text: str, commits: Mapping[Pin, str], path: Path) -> str:
    """Return a recipe's text with other commits, read again.

    Raises:
        RecipeError: It would not say these commits and, of all else that it names, the same as before.
    """
    after, before = pinned(text, commits), find_pins(text)
    try:
        found = [(pin.kind, pin.repo, pin.commit) for pin in find_pins(after)]
    except YAMLError:
        found = []
    wanted = [(pin.kind, pin.repo, commits.get(pin, pin.commit)) for pin in before]
    if found != wanted or not all(pin.alone for pin in commits):
        what = f"The commit of {' or '.join(sorted({pin.repo for pin in commits}))} cannot be replaced where it stands."
        remedy = "Write the commit out in a `revision:` of its own, without an anchor, an alias or `>`, then bump."
        raise RecipeError(what, where=str(path), remedy=remedy)
    return after


def _write(loaded: Loaded, text: str) -> None:
    """Replace a recipe's text, behind its link where it is one, and leave it to whom it belongs."""
    path = loaded.path
    if path.read_bytes() != loaded.text:
        what = "The recipe was changed meanwhile, and is left as it is."
        raise RecipeError(what, where=str(path), remedy="Run the same command again.")
    file = path.resolve()
    mode = stat.S_IMODE(file.stat().st_mode)
    if not (mode & 0o222 and os.access(file, os.W_OK)):  # who is root may write everything
        remedy = f"Allow it with `chmod u+w {path}`, then run the same command again."
        raise RecipeError("The recipe is read-only, and is left as it is.", where=str(path), remedy=remedy)
    write_atomically(file, text.encode(), mode)


def fill(path: Path, vocabulary: Vocabulary) -> Loaded:
    """Read a recipe with a stand-in for every commit that it lacks; its text is as written.

    Raises:
        InvalidRecipe: Something else is wrong with it.
    """
    try:
        content = path.read_bytes()
        return Loaded(filled(content, path, vocabulary), path, content)
    except (OSError, UnicodeDecodeError, YAMLError, InvalidRecipe):
        load(path, vocabulary)  # says what is wrong, by the lines of the file
        raise


def filled(content: bytes, path: Path, vocabulary: Vocabulary) -> Recipe:
    """Return what a recipe says with a stand-in for every commit that it lacks."""
    text = content.decode()
    lacking = {pin: STAND_IN for pin in find_pins(text) if lacks_commit(pin)}
    return read_recipe(pinned(text, lacking).encode(), str(path), vocabulary, path.parent)


def lacks_commit(pin: Pin) -> bool:
    """Return whether a recipe names a repository without one of its commits."""
    return not re.fullmatch(COMMIT, pin.commit)


def newest(pin: Pin, engine: Engine, variant: str | None) -> BumpedPin:
    """Return the newest commit of a repository, and what differs there from the one that is pinned."""
    place = engine.repository(pin.repo, None, kind="dataset" if pin.kind == "datasets" else "model")
    before = "" if lacks_commit(pin) else pin.commit
    found = BumpedPin(kind=pin.kind, repo=pin.repo, before=before, after=place.revision)
    if pin.kind != "datasets":
        found = found.model_copy(update={"gate": place.hub.gate(pin.repo)})
    if not before or not found.moved:
        return found
    try:
        earlier = place.hub.source(pin.repo, before)
    except SourceError as error:
        return found.model_copy(update={"note": f"{before[:12]} cannot be compared: {error.what}"})
    is_source = pin.kind == "source"
    differences = models_between(earlier, place, variant) if is_source else files_between(earlier, place)
    return found.model_copy(update={"differences": differences})

"""Watch: every published checkpoint is loaded and asked one question with the versions that are here."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Final, Literal

from pydantic import BaseModel, ConfigDict, Field

from pipeline.errors import CannotHereError, GenerationError, PublishError, RecipeError, SourceError
from pipeline.events import Listener
from pipeline.files import ListedFile, disk_errors, human_size
from pipeline.fleet.bump import BumpedPin, bump
from pipeline.fleet.can_run import Fit, Machine
from pipeline.fleet.needs import LARGEST, Needs, read_needs, withdrawal
from pipeline.fleet.pictured import FAR, apart, question_shown
from pipeline.fleet.status import BYSTANDERS, versions_here
from pipeline.fleet.watched import Watched, keep_watched
from pipeline.hub.client import Hub
from pipeline.hub.release_files import PLAN, QUESTIONS, REPORT, WORST
from pipeline.hub.source import Repository
from pipeline.locks import temporary_in
from pipeline.plan.model import TargetPlan, read_plan
from pipeline.plan.questions import request_of
from pipeline.recipe import HubSource, Loaded
from pipeline.recipe.pins import Kind, find_pins
from pipeline.run import Engine
from pipeline.source.fetch import FETCH, fetch, fetch_key
from pipeline.store import Store
from pipeline.tasks import TASKS
from pipeline.validate import generate

Loads = tuple[bool | Literal["unknown"], str]
SOURCE: Final[tuple[Kind, ...]] = ("source",)
MISMATCH: Final = "ImportError: cannot import name"  # two libraries that are both here and do not fit


class WatchedRecipe(BaseModel):
    """Whether the source of a recipe moved.

    Attributes:
        moved: Whether there is a newer commit than it pins, or it lacks one.
        reason: Why that is not known, or cannot be so.
        pins: Where each of its repositories was and is.
        text: What its file says when it is moved, which is not shown; empty where that has to be written by hand.
        exit_code: Of the error where it could not be looked at, else 0.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    recipe: str
    moved: bool | Literal["unknown"]
    reason: str = ""
    pins: tuple[BumpedPin, ...] = ()
    text: str = Field(default="", exclude=True)
    exit_code: int = 0


def watch_recipe(loaded: Loaded, engine: Engine) -> WatchedRecipe:
    """Return whether a recipe's source moved, and what differs there; nothing is written.

    Args:
        loaded: The recipe, as `pipeline.fleet.bump.fill` reads it.
        engine: What finds its repositories.
    """
    name = str(loaded.path)
    if not isinstance(loaded.recipe.source, HubSource):
        return WatchedRecipe(recipe=name, moved=False, reason="its source is a folder, which nothing moves")
    if not any(pin.kind in SOURCE for pin in find_pins(loaded.text.decode())):
        reason = "it is pinned in a file that the recipe includes, which is moved by hand"
        return WatchedRecipe(recipe=name, moved="unknown", reason=reason)
    try:
        found = bump(loaded, engine, SOURCE, write=False)
    except PublishError as error:
        return WatchedRecipe(recipe=name, moved="unknown", reason=str(error), exit_code=error.exit_code)
    return WatchedRecipe(recipe=name, moved=found.moved, pins=found.pins, text=found.text)


@dataclass(frozen=True)
class Watch:
    """Somebody who tries what is published.

    Attributes:
        hub: Where it is published.
        home: Holds what is downloaded, and what was found.
        listen: Hears of progress.
        seconds: What loading may take, and the answer.
        keep: Whether downloads stay in the store of the home.
    """

    hub: Hub
    home: Path
    listen: Listener
    seconds: float
    keep: bool = False

    @cached_property
    def store(self) -> Store:
        """Where downloads lie."""
        return Store(self.home / "store", self.listen)

    def look(self, repo: str, revision: str | None = None, *, expected: bool = True) -> Watched:
        """Return whether a published repository loads here and answers, and keep that in the home.

        Args:
            repo: The repository.
            revision: A commit, branch or tag of it; ``main`` by default.
            expected: Whether it must be there, and is not only a name that a recipe has for it.
        """
        known = Watched(repository=repo, reason="never published", seen=datetime.now(UTC).date().isoformat())
        try:
            commit = self.hub.find(repo, revision)
            if commit is None and not expected:
                return known
            if commit is None:
                what, remedy = "There is no such repository.", "Correct its name; a private one wants HF_TOKEN."
                raise SourceError(what, where=f"{repo}@{revision}" if revision else repo, remedy=remedy)
            known = known.model_copy(update={"commit": commit})
            plan = read_plan(self.hub.content(repo, commit, PLAN, LARGEST))
            known = known.model_copy(update={"build": plan.build}) if plan else known
            if plan and (gone := withdrawal(self.hub, repo, plan)):
                return known.model_copy(update={"withdrawn": True, "reason": f"it was withdrawn: {gone.reason}"})
            loads, reason = self.tried(repo, commit, plan)
        except PublishError as error:
            return known.model_copy(update={"reason": str(error), "exit_code": error.exit_code})
        made, here = (plan.versions, versions_here(plan)) if plan else ({}, {})
        deciding = {name: version for name, version in here.items() if name not in BYSTANDERS}
        of = {"made": {name: made[name] for name in deciding if name in made}, "versions": deciding}
        return keep_watched(self.home, known.model_copy(update={"loads": loads, "reason": reason, **of}))

    def tried(self, repo: str, commit: str, plan: TargetPlan | None) -> Loads:
        """Return whether a commit loads here and answers, and the reason.

        Raises:
            HubUnavailableError: The Hub does not answer.
        """
        if plan is None:
            return "unknown", f"it has no {PLAN} that this version reads, which says what it is to be asked"
        place = self.hub.source(repo, commit)
        try:
            needs = read_needs(self.hub, repo, commit)
        except SourceError as error:
            return False, error.what
        beside = [name for name in place.files if name.startswith(f"{QUESTIONS}/") or name in {REPORT, WORST}]
        files = place.listed([*needs.files, *beside])
        if lacking := self.lacking(needs, files):
            return "unknown", lacking
        return self.asked(place, files, plan)

    def lacking(self, needs: Needs, files: dict[str, ListedFile]) -> str:
        """Return what this machine lacks to load a repository; empty where nothing is known to lack."""
        remarks = Fit(needs, Machine.here()).remarks
        problems = [each.text for each in remarks if each.level == "problem" and each.topic != "disk"]
        if problems:
            return f"it does not run on this machine: {problems[0]}"
        size = self.store.to_come(FETCH, fetch_key(files), sum(file.size for file in files.values()))
        if size > (room := self.store.room()):
            return f"{human_size(size)} are to be downloaded, and {human_size(room)} are free in {self.home}"
        return ""

    def asked(self, place: Repository, files: dict[str, ListedFile], plan: TargetPlan) -> Loads:
        """Download a commit, load it in a process of its own, and ask it one question."""
        kept = self.keep or self.store.look(FETCH, fetch_key(files)) is not None
        folder = fetch(place, files, self.store, self.listen)
        try:
            with disk_errors(self.home), temporary_in(self.home, "watch") as out:
                loads, reason = self.answered(folder, plan, out)
        finally:
            if not kept:
                self.store.drop(FETCH, fetch_key(files))
        return loads, reason.replace(str(folder.resolve()), place.repo)

    def answered(self, folder: Path, plan: TargetPlan, out: Path) -> Loads:
        """Return whether a folder loads as it was judged, and answers the question whose answer its card shows."""
        every = request_of(plan, folder / QUESTIONS)
        pictured = question_shown(folder, every)
        request = pictured or every.only(1, 1)
        try:
            answers = generate(folder, request, out, self.listen, silence=self.seconds)
        except (CannotHereError, GenerationError, RecipeError, SourceError) as error:
            return refused(error)
        (given,), medium = answers.given, TASKS[plan.task].medium
        answer, subject = out / given.file, f"It loads, and its answer to {request.questions[0].prompt!r} is"
        if fault := given.fault or medium.fault(medium.open(answer), medium.open(answer)):
            return False, f"{subject} {fault}."
        if pictured and (far := apart(medium, answer, folder, out)) > FAR:
            return False, f"{subject} another than its card shows: {far:.0f} of 255 levels away in the mean."
        return True, f"on {answers.device}, {answers.how}" + (", as its card shows it" if pictured else "")


def refused(error: PublishError) -> Loads:
    """Return what follows of an error of loading: nothing where this machine is at fault, and not its libraries."""
    this_machine = isinstance(error, CannotHereError) and MISMATCH not in error.what
    return "unknown" if this_machine else False, error.what

"""Runs a recipe's targets through the stages in order; what is sealed or published is not done again."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any, Final, Literal

from pydantic import BaseModel, ConfigDict

from localhub.card_rules import errors_of
from pipeline.backends import BACKENDS
from pipeline.backends.available import require
from pipeline.card.compose import snippet_of
from pipeline.card.context import usages
from pipeline.card.render import templates
from pipeline.card.stage import Edition, release_key, require_taken, write_card
from pipeline.errors import (
    CannotHereError,
    HubUnavailableError,
    PublishError,
    QuantizationError,
    RemoteChangedError,
    VerificationError,
)
from pipeline.events import Event, Listener
from pipeline.files import digest_of
from pipeline.hub.client import Gate, Hub, Kind, RemoteState
from pipeline.hub.destination import Destination
from pipeline.hub.endpoint import OfflineError
from pipeline.hub.ownership import Holdings, look_at, version_at
from pipeline.hub.release_files import WRITTEN
from pipeline.hub.retry import BRIEF
from pipeline.hub.source import Repository
from pipeline.hub.withdrawn import Withdrawals, read_withdrawals
from pipeline.plan.loras import FoundLora, find_loras
from pipeline.plan.model import ResolvedComponent, TargetPlan, chosen, read_plan
from pipeline.plan.parts import PlannedPrompts
from pipeline.plan.planner import Planner
from pipeline.plan.questions import questions_folder, request_of
from pipeline.quantize.build import Origin, quantize
from pipeline.quantize.lora.fuse import fused_source
from pipeline.quantize.sourcing import Sourcing, gate_of
from pipeline.recipe import HubSource, Loaded
from pipeline.recipe.problems import listed
from pipeline.release import other_work
from pipeline.release.earlier import Earlier, OnDisk, same_bytes, withdrawn_before
from pipeline.release.other_work import Beside, Terms
from pipeline.release.sealed import seal_into, sealed_in, sealing
from pipeline.release.sign import sign
from pipeline.release.signing import Signer
from pipeline.release.smoke_test import SnippetSmokeTest
from pipeline.release.stage import Publication, Release, proofs_of, release
from pipeline.source.fetch import fetch, fetch_key
from pipeline.source.layout import Folder
from pipeline.source.readers import readers
from pipeline.store import Store
from pipeline.tasks import TASKS
from pipeline.validate import Report
from pipeline.validate.findings import remark_on
from pipeline.validate.follow_up import FollowUpChecks
from pipeline.validate.judges import Judges
from pipeline.validate.prompts import ask_prompts
from pipeline.validate.stage import earlier_failure, reference_answers, refuse, validate

PLAIN: Final = "plain"  # a source whose files have other names, under those that are published
State = Literal["published", "unchanged", "yanked", "same", "stopped"]
STAGES: Final = ("fetch", "quantize", "validate", "card", "release")


class Outcome(BaseModel):
    """What became of one target.

    Attributes:
        state: ``published`` now, ``unchanged`` since an earlier run, ``yanked`` since then, so that this plan is not
            published again, ``same`` as what a ladder has for another card or as the source, so that it is not
            published at all, or ``stopped`` after the stage that was asked for.
        seconds: By stage, for those that ran.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    target: str
    repository: str
    state: State
    commit: str | None = None
    tag: str | None = None
    verdict: str | None = None
    source_bytes: int
    result_bytes: int
    seconds: dict[str, float] = {}


@dataclass(frozen=True)
class Engine:
    """One recipe, one home, one Hub.

    Attributes:
        loaded: The recipe.
        home: The folder that holds the store.
        hub: Where results are published, and the first place where a source is looked for.
        fallback: The Hub that sources come from otherwise.
        stream: Whether the weights of a source on a Hub are quantized as they come and never stored.
        listen: Hears of everything.
        signer: Who signs what is released, if anybody.
        shared: The store, where it is not to be one of this engine's own.
        rebuild: Whether what was released before is made again, and released where its bytes differ.
        replace: Whether a release overwrites what somebody changed since the last one.
        seal: Where what ends after the card is laid for another machine to release, a folder a target.
    """

    loaded: Loaded
    home: Path
    hub: Hub
    fallback: Hub
    listen: Listener
    stream: bool = False
    signer: Signer | None = None
    shared: Store | None = None
    rebuild: bool = False
    replace: bool = False
    seal: Path | None = None

    @cached_property
    def store(self) -> Store:
        """The sealed results."""
        return self.shared or Store(self.home / "store", self.listen)

    @cached_property
    def place(self) -> Repository | Folder:
        """Where the source lies."""
        source = self.loaded.recipe.source
        if isinstance(source, HubSource):
            return self.repository(source.repo, source.revision)
        folder = Folder(self.loaded.resolve(source.path).resolve())
        folder.memory = self.home / "digests" / f"{digest_of(str(folder.path))}.json"
        return folder

    @cached_property
    def readers(self) -> tuple[Hub, Hub]:
        """The two Hubs as this recipe reads of them."""
        return readers(self.hub, self.fallback, self.loaded.recipe.source)

    @property
    def sourcing(self) -> Sourcing:
        """What decides how the source comes here."""
        return Sourcing(self.place, self.planner.layout, self.store, self.home, self.listen, self.stream)

    @cached_property
    def planner(self) -> Planner:
        """What makes plans."""
        answers, pinned = self.home / "answers", tuple(lora.planned for lora in self.loras)
        return Planner(self.loaded, self.place, self.judges.pins, answers, templates(), self.prompts, pinned)

    @cached_property
    def prompts(self) -> PlannedPrompts:
        """The questions, read from their file or out of their dataset."""
        return ask_prompts(self.loaded, partial(self.repository, kind="dataset"), self.store, self.listen)

    @cached_property
    def loras(self) -> tuple[FoundLora, ...]:
        """The LoRAs of the recipe, each where its file was found."""
        return find_loras(self.loaded, self.repository)

    @cached_property
    def judges(self) -> Judges:
        """The models that judge."""
        return Judges(self.loaded, self.repository)

    def repository(self, repo: str, revision: str | None, kind: Kind = "model") -> Repository:
        """Return a repository on the Hub that has it: the one that is published to, else the other."""
        hub, fallback = (hub.of(kind) for hub in self.readers)
        if commit := hub.find(repo, revision):
            return hub.source(repo, commit)
        try:
            return fallback.source(repo, fallback.find(repo, revision) or revision or "main")
        except HubUnavailableError as error:
            if hub.name == fallback.name:
                raise
            asked = f"{repo}@{revision[:12]}" if revision else repo
            what = f"{error.what} The Hub {hub.name} does not have {asked} either."
            remedy = "Push it to that Hub, or check the network, HTTPS_PROXY and HF_ENDPOINT with `publish doctor`."
            raise HubUnavailableError(what, where=error.where, remedy=f"{remedy} Then run again.") from error

    def prepare(self, targets: Sequence[str] = ()) -> list[str]:
        """Read the source's headers, ask the libraries about all components at once, and return the targets' names.

        Args:
            targets: Those that were asked for; all of the recipe's where none is named.

        Raises:
            RecipeError: The recipe has no such target.
        """
        names = chosen(self.loaded.recipe, targets)
        with self.timed("prepare", ""):
            self.planner.ask_ahead(names)
        return names

    def plan(self, target: str, *, releases: bool = True) -> tuple[TargetPlan, RemoteState]:
        """Return a target's plan and what its repository looks like now.

        Args:
            target: The target.
            releases: Whether it is released next. Where it is not and its source is a folder, a Hub that does not
                answer is not waited for: the repository then looks as if there were none.
        """
        with self.timed("plan", target):
            plan = self.planner.plan(target)
        self.tell_of_prompts(plan)
        self.tell_of_privacy(plan)
        if releases or isinstance(self.place, Repository):
            return plan, self.hub.state(plan.repository)
        try:
            return plan, self.hub.with_patience(BRIEF).state(plan.repository)
        except (HubUnavailableError, OfflineError) as error:
            told = f"goes on without the Hub, so what is published of it is unknown: {error.what}"
            self.listen(Event("note", "plan", target, told))
            return plan, RemoteState()

    def tell_of_prompts(self, plan: TargetPlan) -> None:
        """Tell where a target is asked too few prompts, before hours go into a verdict that they leave open."""
        if told := remark_on(TASKS[plan.task], plan.validation.require, len(plan.validation.prompts)):
            self.listen(Event("note", "plan", plan.target, told))

    def tell_of_privacy(self, plan: TargetPlan) -> None:
        """Tell where everybody would see what is made of a source that not everybody sees."""
        if isinstance(self.place, Repository) and not plan.private and self.place.private:
            unless = "unless the recipe says `destination: {private: true}`"
            told = f"{plan.source.where} is private, and {plan.repository} is to be public {unless}"
            self.listen(Event("note", "plan", plan.target, told))

    def withdrawn(self, repo: str, remote: RemoteState) -> Withdrawals:
        """Return what of a repository was withdrawn."""
        return read_withdrawals(self.hub, repo, remote.head) if remote.head and remote.plan else Withdrawals()

    @property
    def terms(self) -> Terms:
        """What a release may do to somebody's work."""
        return Terms(self.loaded.recipe.destination.adopt, self.replace)

    def holdings(self, plan: TargetPlan, remote: RemoteState) -> Holdings | None:
        """Return what is on ``main`` of a target's repository, and whose it is; None where there is no repository."""
        return look_at(self.hub, plan.repository, remote.head, remote.tags, remote.release) if remote.head else None

    def beside(self, plan: TargetPlan, remote: RemoteState) -> Beside:
        """Return what a release would make of somebody's files in a target's repository."""
        held = self.holdings(plan, remote)
        return other_work.beside(self.hub, plan.repository, held, self.written(plan), self.terms) if held else Beside()

    def written(self, plan: TargetPlan) -> frozenset[str]:
        """Return the paths that a target's release writes."""
        made = [part for edition in plan.editions for part in self.asked(edition).values()]
        kept = [part for name, part in self.planner.layout.components.items() if name not in plan.components]
        plain = {name for part in kept for name in part.files} | {*self.planner.layout.top}
        return WRITTEN | plain | {*usages(plan)} | {name for part in made for name in part.files}

    def run(self, targets: Iterable[str], stop_after: str = STAGES[-1]) -> Iterator[Outcome | PublishError]:
        """Take targets through the stages; yield what became of each, in the order in which they end.

        A target that fails does not keep the others; its error says with which exit code, and whatever was finished is
        kept.
        """
        runs: list[Run] = []
        for target in targets:
            try:
                begun = self.begin(target, stop_after)
            except PublishError as error:
                yield error
                continue
            if isinstance(begun, Outcome):
                yield begun
            else:
                runs.append(begun)
        if not runs:
            return
        try:
            origin = self.together(runs, stop_after)
        except PublishError as error:
            yield from (error for _ in runs)
            return
        for run in runs:
            try:
                yield run.all(origin)
            except PublishError as error:
                yield error

    def begin(self, target: str, stop_after: str) -> Outcome | Run:
        """Return what is to be done for a target, or its outcome where nothing is.

        Raises:
            PublishError: It cannot be planned, failed its verdict before, or cannot be brought to its end, here or
                beside what somebody put into its repository.
        """
        plan, remote = self.plan(target, releases=stop_after == STAGES[-1])
        earlier = self.earlier(plan, remote)
        if earlier and not self.rebuild:
            return self.skip(plan, earlier[0])
        if plan.instead and not earlier:
            if stop_after == STAGES[-1]:
                self.require_as_found(plan)
            self.listen(Event("skipped", "run", target, f"is not published: {plan.instead}"))
            return outcome(plan, "same")
        for edition in plan.editions:
            if failed := earlier_failure(edition, self.store):
                raise failed
        self.require_able(plan, stop_after)
        if stop_after == STAGES[-1] and (held := self.holdings(plan, remote)):
            other_work.require(self.hub, plan.repository, held, self.written(plan), self.terms)
        for edition in plan.editions if earlier else ():
            self.drop("checkpoint", edition.build_key)
        return Run(self, plan, {}, stop_after, earlier)

    def require_as_found(self, plan: TargetPlan) -> None:
        """Refuse to send a card to a sibling's repository that holds something else than was found for both.

        An earlier version, or a machine with other libraries, may have found it otherwise when that was published.

        Raises:
            RemoteChangedError: It does.
        """
        step = plan.step
        if step is None or not step.taken or (published := read_plan(self.hub.state(step.repository).plan)) is None:
            return
        there = {name: part.quantization.words for name, part in published.components.items()}
        if there != step.components:
            had, found = (", ".join(map(" ".join, words.items())) for words in (there, step.components))
            raise RemoteChangedError(
                f"{plan.target} is to be the same as {step.taken}, of which {had} is published, and {found} was found.",
                where=step.repository,
                remedy=f"Make that one again with `publish run {self.loaded.path} --target {step.taken} --rebuild`.",
            )

    def drop(self, stage: str, key: str) -> None:
        """Remove a sealed result that is made again.

        Raises:
            CannotHereError: Another process uses it.
        """
        if not self.store.drop(stage, key):
            what, remedy = "Another process uses what is to be made again.", "Run it again once that has ended."
            raise CannotHereError(what, where=str(self.store.root / stage / key), remedy=remedy)

    def earlier(self, plan: TargetPlan, remote: RemoteState) -> tuple[Earlier, ...]:
        """Return the releases of a plan that ``main`` shows or that were withdrawn, the deciding one first."""
        withdrawn = self.withdrawn(plan.repository, remote)
        published, tag = read_plan(remote.plan), self.published_as(plan, remote)
        known = published and tag and tag not in withdrawn.tags
        shown = [Earlier(published, tag, str(remote.release))] if published and tag and known else []
        return (*shown, *withdrawn_before(self.hub, plan, withdrawn, self.disk))

    def published_as(self, plan: TargetPlan, remote: RemoteState) -> str | None:
        """Return the tag under which ``main`` shows what this plan asks for, or None."""
        published = read_plan(remote.plan)
        asked = self.disk.listed(plan, published) if published else plan
        return published_as(asked, remote, self.withdrawn(plan.repository, remote))

    @property
    def disk(self) -> OnDisk:
        """The files of this machine that plans name."""
        return OnDisk(
            self.place.path if isinstance(self.place, Folder) else None,
            {at: lora.place / lora.planned.file for at, lora in enumerate(self.loras) if isinstance(lora.place, Path)},
            {metric: place for metric, place in self.judges.places.items() if isinstance(place, Path)},
        )

    def release(self, plan: TargetPlan, folder: Path) -> Release:
        """Publish what was made of a target.

        Raises:
            PublishError: It cannot be brought to its end here, or beside what somebody put into its repository.
        """
        trial = SnippetSmokeTest(plan, self.home)
        trial.require_able(folder)
        # Another process that publishes to the same repository would stage, and use, the same again.
        with self.store.alone("release", digest_of([self.hub.name, plan.repository])):
            folder = sign(plan, folder, self.signer, self.store, self.listen)
            what = publication(plan, folder, gate_of(self.place), self.terms)
            return release(what, self.hub, self.store.aside, trial, self.listen)

    def release_sealed(self, target: str, folder: Path, manifest: str = "") -> Outcome:
        """Publish what another run made of a target, and make nothing: no weights are read but those that were sealed.

        Args:
            target: The target.
            folder: Where it was laid.
            manifest: The SHA-256 that its manifest must have.

        Raises:
            PublishError: It is not there, is not what was sealed, or cannot be brought to its end.
        """
        sealed, seconds = sealed_in(folder, target, self.loaded, manifest), dict[str, float]()
        plan = sealed.plan
        self.require_unchanged(plan, folder)
        if earlier := self.earlier(plan, self.hub.state(plan.repository)):
            return self.skip(plan, earlier[0])
        if self.signer:
            self.signer.require_usable()
        require_taken(folder, plan.repository, partial(self.hub.card_errors, plan.repository))
        with self.timed("release", target, seconds):
            done = self.release(plan, folder)
        return outcome(plan, "published", done, seconds, sealed.report)

    def require_unchanged(self, plan: TargetPlan, sealed: Path) -> None:
        """Refuse what was sealed when a folder that its recipe names held something else.

        What lies on a Hub is pinned by its commit, and the prompts were compared with the recipe.

        Raises:
            VerificationError: With all of them.
        """
        task, loras = TASKS[plan.task], zip(plan.loras, self.loras, strict=True)
        changed = [f"the LoRA {lora.where}" for lora, found in loras if found.planned.listed != lora.listed]
        pins = self.judges.pins
        changed += [f"the judge of {name}" for name, pin in plan.validation.judges.items() if pins.get(name) != pin]
        if isinstance(self.place, Folder):
            found = self.place.listed(task.layout(self.place, plan.source.variant).wanted)
            names = [name for name in sorted(found.keys() | plan.files) if found.get(name) != plan.files.get(name)]
            changed += [f"{name} of the source {plan.source.path}" for name in names]
        if changed:
            what = f"Since it was sealed {listed(changed, 'and')} changed; nothing was published."
            raise VerificationError(
                what, where=str(sealed), remedy=f"Make it again with `{sealing(self.loaded, plan.target, sealed)}`."
            )

    def skip(self, plan: TargetPlan, earlier: Earlier) -> Outcome:
        """Tell why nothing is done for a target, and return its outcome."""
        proofs_of(self.hub, plan.repository, plan.digest, self.store.aside).forget()  # of a run that was killed
        self.listen(Event("skipped", "run", plan.target, earlier.told))
        release = Release(repository=plan.repository, commit=earlier.commit, tag=earlier.tag)
        return outcome(plan, "yanked" if earlier.withdrawal else "unchanged", release)

    def together(self, runs: Sequence[Run], stop_after: str) -> Origin:
        """Do once what targets share: fetch their source, and quantize it for all of them in one reading.

        Raises:
            PublishError: The source is not what it should be, or does not come.
        """
        subject = runs[0].plan.target if len(runs) == 1 else f"{len(runs)} targets"
        seconds: dict[str, float] = {}
        with self.timed("fetch", subject, seconds):
            plans = [edition for run in runs for edition in run.plan.editions]
            asked = [self.asked(plan) for plan in plans]
            quantized, judged = stop_after not in STAGES[:1], stop_after not in STAGES[:2]
            asks = judged and not all(self.was_asked(plan) for plan in plans)
            origin = fused_source(self.sourcing, plans[0], self.loras) if plans[0].fused else None
            origin = origin or self.sourcing.origin(plans, asked, quantized=quantized, asks=asks)
        fresh = [plan for plan in plans if not self.store.look("checkpoint", plan.build_key)]
        if stop_after != "fetch" and len(fresh) > 1:
            try:
                with self.timed("quantize", subject, seconds):
                    quantize(fresh, [self.asked(plan) for plan in fresh], origin, self.store, self.listen)
            except (QuantizationError, CannotHereError) as error:  # of one target, or of a disk too small for all
                text = f"Not all in one reading of the source ({error.what}): each target reads it by itself."
                self.listen(Event("note", "quantize", subject, text))
        for run in runs:
            run.seconds.update(seconds)
        return origin

    def was_asked(self, plan: TargetPlan) -> bool:
        """Return whether nothing of a plan needs the source's own answers any more."""
        following = FollowUpChecks(plan, (), request_of(plan), self.store, self.listen)
        return reference_answers(plan, self.store) is not None and following.source_is_known()

    def asked(self, plan: TargetPlan) -> Mapping[str, ResolvedComponent]:
        """Return what is known of each component that a target quantizes."""
        return {name: self.planner.consult(name, part.quantization) for name, part in plan.components.items()}

    def require_able(self, plan: TargetPlan, stop_after: str) -> None:
        """Refuse what this machine or this token cannot bring to its end, before hours are spent on it.

        Raises:
            CannotHereError: A device is missing, or the token may not write where the result is to be published.
            RemoteChangedError: Everybody sees that place, and the recipe says ``private: true``.
        """
        if stop_after != STAGES[0]:
            for _, part in plan.artifacts:
                require(BACKENDS[part.quantization.backend], part.quantization.scheme)
        if stop_after == STAGES[-1]:
            if self.hub.require_writer(plan.repository) and plan.private:
                Destination(self.hub, plan.repository).require_private()
            if self.signer:
                self.signer.require_usable()

    @contextmanager
    def timed(self, stage: str, target: str, seconds: dict[str, float] | None = None) -> Iterator[None]:
        """Tell when a stage begins and how it ends; one that fails leaves no time in ``seconds``."""
        self.listen(Event("started", stage, target))
        began = time.monotonic()
        try:
            yield
        except BaseException:  # Ctrl-C, too, ends a stage
            self.listen(Event("failed", stage, target, seconds=time.monotonic() - began))
            raise
        took = time.monotonic() - began
        if seconds is not None:
            seconds[stage] = round(took, 3)
        self.listen(Event("finished", stage, target, seconds=took))


@dataclass(frozen=True)
class Run:
    """One target on its way through the stages.

    Attributes:
        earlier: The releases of its plan that were made before, where it is made again.
    """

    engine: Engine
    plan: TargetPlan
    seconds: dict[str, float]
    stop_after: str
    earlier: tuple[Earlier, ...] = ()

    def all(self, origin: Origin) -> Outcome:
        """Run the stages after the fetching one after another.

        Args:
            origin: The source, fetched or to be streamed.
        """
        engine, plan = self.engine, self.plan
        if self.stop_after == "fetch":
            return outcome(plan, "stopped", seconds=self.seconds)
        with nullcontext() if "quantize" in self.seconds else self.timed("quantize"):
            checkpoints = [self.made(edition, origin) for edition in plan.editions]
        if self.stop_after == "quantize":
            return outcome(plan, "stopped", seconds=self.seconds)
        with self.timed("validate"):
            editions = tuple(map(partial(self.judged, origin), plan.editions, checkpoints))
        report = editions[0].judged.report
        if self.stop_after == "validate":
            return outcome(plan, "stopped", seconds=self.seconds, report=report)
        with self.timed("card"):
            if self.earlier:  # its files are the same on the disk as those of the checkpoint before
                engine.drop("release", release_key(plan, editions, engine.loaded.published))
            folder = write_card(plan, editions, page_of(engine.place), engine.loaded.published, engine.store)
            offline = self.stop_after == "card"
            require_taken(
                folder, plan.repository, errors_of if offline else partial(engine.hub.card_errors, plan.repository)
            )
        if self.stop_after == "card":
            if engine.seal:
                seal_into(folder, engine.seal / plan.target)
            return outcome(plan, "stopped", seconds=self.seconds, report=report)
        if same := next((made for made in self.earlier if same_bytes(engine.hub, made, plan, folder)), None):
            told = f"rebuilt, same bytes as {same.tag}" + (", which was withdrawn" if same.withdrawal else "")
            engine.listen(Event("note", "run", plan.target, told))
            return engine.skip(plan, same)
        with self.timed("release"):
            done = engine.release(plan, folder)
        return outcome(plan, "published", done, self.seconds, report)

    def made(self, edition: TargetPlan, origin: Origin) -> Path:
        """Return the checkpoint of one edition."""
        engine = self.engine
        (checkpoint,) = quantize([edition], [engine.asked(edition)], origin, engine.store, engine.listen)
        return checkpoint

    def judged(self, origin: Origin, edition: TargetPlan, checkpoint: Path) -> Edition:
        """Return one edition with what was measured on it.

        Raises:
            VerdictError: It did not pass, and so nothing of the target is published.
        """
        engine = self.engine
        request = request_of(edition, questions_folder(edition.validation, engine.store))
        following = FollowUpChecks(edition, engine.loras, request, engine.store, engine.listen, snippet_of(edition))
        source, judges = self.reference(origin, following), engine.judges.folders(engine.store, engine.listen)
        uses = following.try_all(source, checkpoint)
        judged = validate(edition, source, checkpoint, judges, engine.store, engine.listen, uses)
        if judged.report.verdict != "PASS":
            raise refuse(edition, judged, engine.store)
        return Edition(edition, checkpoint, judged)

    def timed(self, stage: str) -> Any:
        """Time a stage of this target."""
        return self.engine.timed(stage, self.plan.target, self.seconds)

    def reference(self, origin: Origin, following: FollowUpChecks) -> Path:
        """Return the folder of the whole source under plain names, to be asked; one that was streamed comes now.

        Where its answers are known nobody looks into it.

        Raises:
            CannotHereError: The disk has no room for it.
        """
        store = self.engine.store
        if reference_answers(self.plan, store) and following.source_is_known():
            return origin.folder
        if origin.remote is not None:
            fetched = fetch(self.engine.place, self.plan.files, store, self.engine.listen, origin.folder)
            origin = replace(origin, folder=fetched)
        if all(name == source for name, source in origin.layout.published.items()):
            return origin.folder
        return store.make(PLAIN, fetch_key(origin.files), lambda folder: origin.put({}, folder))


def published_as(plan: TargetPlan, remote: RemoteState, withdrawn: Withdrawals) -> str | None:
    """Return the tag of the newest release on ``main`` if it asks the same; withdrawals may lie above the tag."""
    published = read_plan(remote.plan)
    if published is None or not plan.asks_the_same(published):
        return None
    return version_at(remote.tags, remote.release) or withdrawn.tag_of(published.content_digest)


def publication(plan: TargetPlan, folder: Path, gated: Gate | None, terms: Terms) -> Publication:
    """Return what is to be published of a plan."""
    return Publication(plan.target, plan.digest, plan.repository, folder, plan.private, gated, terms)


def outcome(
    plan: TargetPlan,
    state: State,
    done: Release | None = None,
    seconds: dict[str, float] | None = None,
    report: Report | None = None,
) -> Outcome:
    """Return what became of a target; its size is measured where it was judged, and the plan's where not."""
    sizes = report.sizes if report else None
    return Outcome(
        target=plan.target,
        repository=plan.repository,
        state=state,
        commit=done.commit if done else None,
        tag=done.tag if done else None,
        verdict=report.verdict if report else None,
        source_bytes=plan.source_bytes,
        result_bytes=sizes.result if sizes else plan.result_bytes,
        seconds=seconds or {},
    )


def page_of(place: Repository | Folder) -> str:
    """Return the page of a source on its Hub; empty for a folder."""
    return f"{place.hub.endpoint}/{place.repo}" if isinstance(place, Repository) else ""

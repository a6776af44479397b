"""Status: every recipe and target beside what the Hub has of it, without any quantization library.

Everything that a plan repeats of its recipe (source, components with their options, prompts, bar, template) is compared
with the published ``publish/plan.json``: a difference is *changed*. The commit that the recipe pins is compared with
the source's ``main``: *behind*. Where nothing differs, a run here does nothing, and the target is *current*.

With which versions a checkpoint was made is told beside that, with what is known of loading it by those that are here.
No version makes a target stale: what was published stays so until its recipe or its source changes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, Literal, get_args

from packaging.version import InvalidVersion, Version
from pydantic import BaseModel, ConfigDict, ValidationError

from pipeline.backends import BACKENDS
from pipeline.backends.oracle.conversion import installed_versions
from pipeline.card.render import templates
from pipeline.errors import PublishError, SourceError
from pipeline.fleet.watched import Watched, read_watched
from pipeline.hub.client import Hub, RemoteState
from pipeline.hub.ownership import changes as others_changes
from pipeline.hub.ownership import look_at, named, version_at
from pipeline.hub.withdrawn import Withdrawals, read_withdrawals
from pipeline.plan.comparison import differences
from pipeline.plan.model import EDITION, TargetPlan, deciding_packages, read_plan
from pipeline.recipe import HubSource, Loaded, read_prompts
from pipeline.source.layout import Folder
from pipeline.source.readers import readers
from pipeline.tasks import TASKS
from pipeline.validate import Report

AT_ONCE: Final = 8  # repositories that are asked for at the same time
SHOWN: Final = 3  # differences that are named
BYSTANDERS: Final = frozenset({"quantpress", "torchmetrics"})  # decide over bytes and verdict, not over loading

State = Literal[
    "yanked",
    "broken",
    "failing",
    "unpublished",
    "untagged",
    "edited",
    "changed",
    "unreadable",
    "behind",
    "same",
    "current",
]
URGENCY: Final[tuple[State, ...]] = get_args(State)


class StatusReason(BaseModel):
    """One thing that is true of a target, and the state that it puts it in."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    state: State
    text: str


class TargetStatus(BaseModel):
    """One target beside what the Hub has.

    Attributes:
        state: The most urgent of its findings.
        tag: Under which the Hub shows it.
        commit: What ``main`` of the repository is.
        pinned: The source's commit that the recipe names.
        source_head: What ``main`` of the source is; None for a folder.
        versions: With which it was made.
        notes: What is known of loading it, and of making it again, with the versions that are here.
        exit_code: Of the error where something could not be read, else 0.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    recipe: str
    target: str
    repository: str
    state: State
    findings: tuple[StatusReason, ...]
    tag: str | None = None
    commit: str | None = None
    pinned: str | None = None
    source_head: str | None = None
    versions: dict[str, str] = {}
    notes: tuple[str, ...] = ()
    exit_code: int = 0


@dataclass(frozen=True)
class FleetStatus:
    """The recipes of a checkout, one home, one Hub.

    Attributes:
        recipes: What is looked at.
        home: Holds the builds that failed, and what `publish watch` found.
        hub: Where results are published, and the first place where a source is looked for.
        fallback: The Hub that sources come from otherwise.
    """

    recipes: Sequence[Loaded]
    home: Path
    hub: Hub
    fallback: Hub

    def standings(self) -> list[TargetStatus]:
        """Look at every target, several repositories at once.

        A repository that cannot be read says so in its own row and hides no other.

        Raises:
            HubUnavailableError: The Hub answers nothing at all.
        """
        self.hub.reach()
        sources = [loaded.recipe.source for loaded in self.recipes]
        asked = {source.repo: source for source in sources if isinstance(source, HubSource)}
        pairs = [(loaded, target) for loaded in self.recipes for target in loaded.recipe.targets]
        with ThreadPoolExecutor(AT_ONCE) as pool:
            heads = dict(zip(asked, pool.map(self.head_of, asked.values()), strict=True))
            return list(pool.map(lambda pair: self.standing(pair[0], pair[1], heads), pairs))

    def head_of(self, source: HubSource) -> str | PublishError:
        """Return what ``main`` of a source is, or why it cannot be told."""
        try:
            hub, fallback = readers(self.hub, self.fallback, source)
            found = hub.find(source.repo, None) or fallback.find(source.repo, None)
        except PublishError as error:
            return error
        return found or SourceError("There is no such source, or this token may not read it.", where=source.repo)

    def standing(self, loaded: Loaded, target: str, heads: Mapping[str, str | PublishError]) -> TargetStatus:
        """Return where one target stands."""
        repo, source = loaded.recipe.repositories[target], loaded.recipe.source
        pinned = source.revision if isinstance(source, HubSource) else None
        head = heads[source.repo] if isinstance(source, HubSource) else None
        findings: list[StatusReason] = []
        plan, tag, commit, code = None, None, None, 0
        try:
            remote = self.hub.state(repo)
            withdrawn = read_withdrawals(self.hub, repo, remote.head) if remote.head and remote.plan else Withdrawals()
            plan, tag, commit = read_plan(remote.plan), tag_of(remote, withdrawn), remote.head
            beside = [*self.of_ladder(loaded, target)] if remote.head is None else []
            findings += beside or of_remote(remote, plan, tag, withdrawn)
            findings += of_watch(read_watched(self.home).get(repo), commit)
            findings += of_others(self.hub, repo, remote)
            findings += of_recipe(loaded, target, plan) if plan else []
            findings += failures(loaded, target, self.home, plan)
        except PublishError as error:
            findings, code = [StatusReason(state="unreadable", text=str(error))], error.exit_code
        if isinstance(head, PublishError):
            findings, code = [*findings, StatusReason(state="unreadable", text=str(head))], max(code, head.exit_code)
        elif head != pinned:
            text = f"main of {source.origin} is {str(head)[:12]}, the recipe pins {str(pinned)[:12]}"
            findings.append(StatusReason(state="behind", text=text))
        return TargetStatus(
            recipe=str(loaded.path),
            target=target,
            repository=repo,
            state=min((found.state for found in findings), key=URGENCY.index, default="current"),
            findings=tuple(findings),
            tag=tag,
            commit=commit,
            pinned=pinned,
            source_head=head if isinstance(head, str) else None,
            versions=plan.versions if plan else {},
            notes=tuple(notes(plan)) if plan else (),
            exit_code=code,
        )

    def of_ladder(self, loaded: Loaded, target: str) -> Iterator[StatusReason]:
        """Say of a step of a ladder that is not to be published what the plan of one that was says of it."""
        steps = loaded.recipe.for_cards
        for other in steps.keys() - {target} if target in steps else ():
            published = read_plan(self.hub.state(loaded.recipe.repositories[other]).plan)
            for step in published.ladder.steps if published and published.ladder else ():
                if step.target == target and step.instead:
                    yield StatusReason(state="same", text=f"not published: {step.instead}")
                    return


def tag_of(remote: RemoteState, withdrawn: Withdrawals) -> str | None:
    """Return the version of the newest release on ``main``."""
    plan = read_plan(remote.plan)
    return version_at(remote.tags, remote.release) or (withdrawn.tag_of(plan.content_digest) if plan else None)


def of_remote(
    remote: RemoteState, plan: TargetPlan | None, tag: str | None, withdrawn: Withdrawals
) -> Iterator[StatusReason]:
    """Say what the repository alone tells."""
    if plan is None:
        text = "its plan is none that this version reads" if remote.plan else "never published"
        yield StatusReason(state="unpublished", text=text)
    elif tag is None:
        yield StatusReason(state="untagged", text="main has it without a tag; `publish run` finishes the release")
    elif tag in withdrawn.tags:
        yield StatusReason(state="yanked", text=f"{tag} was withdrawn: {withdrawn.tags[tag].why}")


def of_watch(watched: Watched | None, commit: str | None) -> Iterator[StatusReason]:
    """Say that ``main`` did not load when `publish watch` tried it here last."""
    if watched and watched.commit == commit and watched.loads is False:
        yield StatusReason(state="broken", text=f"{watched.fault} (watch, {watched.seen}): {watched.reason}")


def of_others(hub: Hub, repo: str, remote: RemoteState) -> Iterator[StatusReason]:
    """Say what somebody put into a repository or changed there since its release."""
    if remote.head is None or (remote.plan and remote.head == remote.release):
        return
    held = look_at(hub, repo, remote.head, remote.tags, remote.release)
    if held.release is None and held.others:
        text = f"it holds {named(held.others)}, which no release put there; `publish plan` tells what becomes of them"
        yield StatusReason(state="unpublished", text=text)
    for commit, paths in (others_changes(hub, repo, held) if held.release else {}).items():
        text = f"changed by {commit.by} in {commit.id[:12]} since {held.tag}: {named(sorted(paths))}"
        yield StatusReason(state="edited", text=text)


def of_recipe(loaded: Loaded, target: str, plan: TargetPlan) -> Iterator[StatusReason]:
    """Say how what is published differs from the recipe."""
    if different := changes(loaded, target, plan):
        more = f" and {len(different) - SHOWN} more" if len(different) > SHOWN else ""
        text = f"changed since it was published: {'; '.join(different[:SHOWN])}{more}"
        yield StatusReason(state="changed", text=text)


def changes(loaded: Loaded, target: str, plan: TargetPlan) -> list[str]:
    """Return what a recipe says otherwise than a plan that was made of it, each as ``word: then → now``."""
    written, form = loaded.recipe.validation.prompts, TASKS[loaded.recipe.task].form
    prompts = read_prompts(loaded.resolve(written), form) if isinstance(written, str) else None
    found = differences(loaded.recipe, target, plan, prompts)
    return [f"{each.word}: {brief(each.plan)} → {brief(each.recipe)}" for each in found] + moved_files(loaded, plan)


def brief(value: Any) -> str:
    """Return a value in a few letters: a commit or a digest by its first twelve."""
    text = "nothing" if value is None else str(value)
    return text[:12] if len(text) in {40, 64} else text if len(text) <= 40 else f"{text[:37]}..."


def moved_files(loaded: Loaded, plan: TargetPlan) -> list[str]:
    """Return the first file of a source in a folder that is no longer the published one, by its size.

    Sizes cost nothing, and a model that was trained again in place shows in `publish plan`, which reads it.
    """
    source = loaded.recipe.source
    if isinstance(source, HubSource) or plan.source.path != source.path:
        return []
    sizes = {name: file.size for name, file in Folder(loaded.resolve(source.path)).files.items()}
    gone = [name for name, file in plan.files.items() if sizes.get(name) != file.size]
    return [f"{gone[0]} of the source: another file"] if gone else []


def other_versions(plan: TargetPlan) -> dict[str, tuple[str, str | None]]:
    """Return what a checkpoint was made with and what is here, by library, where they differ; nothing is loaded."""
    here = versions_here(plan)
    return {name: (built, here.get(name)) for name, built in plan.versions.items() if here.get(name) != built}


def versions_here(plan: TargetPlan) -> dict[str, str]:
    """Return what a checkpoint would be made with here, by library."""
    known = [part for _, part in plan.artifacts if part.quantization.backend in BACKENDS]
    return installed_versions(deciding_packages(known, plan.task, adapted=bool(plan.loras)))


def notes(plan: TargetPlan) -> Iterator[str]:
    """Tell of a checkpoint what is no fault of it: by what else it was made than what is here."""
    other = other_versions(plan)
    for name, (built, here) in other.items():
        if name not in BYSTANDERS and (reason := doubt(built, here)):
            yield f"made with {name} {built}, {reason}; `publish verify` tries whether it loads"
    if other:
        shown = ", ".join(f"{name} {built} (here {here or 'none'})" for name, (built, here) in other.items())
        yield f"made with {shown}; `publish run --rebuild` makes it again"
    if templates().get(plan.template) != plan.template_digest:
        yield "its card was written by another template; `publish run --rebuild` writes it anew"


def doubt(built: str, here: str | None) -> str:
    """Return why a library may not load what another version of it made; empty where it should."""
    if here is None:
        return "which is not installed here, so nothing is known of loading it"
    try:
        then, now = Version(built), Version(here)
    except InvalidVersion:
        return f"and {here} is here, which cannot be compared with it"
    if now < then:
        return f"and the older {here} is here, which need not read what a newer one wrote"
    return f"and {here} is here, a major version later" if now.major > then.major else ""


def of(edition: TargetPlan, loaded: Loaded) -> Loaded:
    """Return a recipe whose target has what an edition has of it, where it names that among other artifacts."""
    target, parts = edition.entry, dict(edition.named)
    several = loaded.recipe.artifacts(target) if loaded.recipe.further(target) else {}
    if not several or any(part not in several.get(name, ()) for name, part in parts.items()):
        return loaded
    recipe = loaded.recipe.model_copy(update={"targets": {**loaded.recipe.targets, target: parts}})
    return replace(loaded, recipe=recipe)


def failures(loaded: Loaded, target: str, home: Path, published_plan: TargetPlan | None) -> Iterator[StatusReason]:
    """Say which build of exactly this recipe with exactly these versions was refused here, so that a run would be."""
    for folder in sorted((home / "store" / "failed").glob(f"{target}[-{EDITION}]*")):
        try:
            plan = TargetPlan.model_validate_json((folder / "plan.json").read_bytes())
            report = Report.model_validate_json((folder / "report.json").read_bytes())
        except (OSError, ValidationError):  # what another version kept, or somebody took apart
            continue
        same = plan.repository == loaded.recipe.repositories[target] and not changes(of(plan, loaded), target, plan)
        if same and not other_versions(plan) and plan != published_plan:
            yield StatusReason(
                state="failing", text=f"the verdict was {report.verdict}: {report.why} The build is in {folder}"
            )

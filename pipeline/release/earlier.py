"""Earlier: the release of a plan that was made before, by whatever versions, and whether a build has its bytes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from pydantic import ValidationError

from pipeline.errors import RemoteChangedError, VerificationError
from pipeline.files import FileEntry, ListedFile, Manifest, digest_of, manifest_of
from pipeline.hub.client import Hub
from pipeline.hub.release_files import CARD, MANIFEST, MEDIAN, PLAN, WORST
from pipeline.hub.withdrawn import Withdrawal, Withdrawals
from pipeline.plan.model import TargetPlan, read_plan

LARGEST: Final = 64 << 20  # bytes of a document
TOLD: Final = frozenset({CARD, MEDIAN, WORST})  # files that tell of a checkpoint what was measured, each time anew


@dataclass(frozen=True)
class Earlier:
    """A release of a plan.

    Attributes:
        plan: The plan as it was published.
        tag: The version.
        commit: The commit that shows it.
        withdrawal: Why it was withdrawn, if it was.
    """

    plan: TargetPlan
    tag: str
    commit: str
    withdrawal: Withdrawal | None = None

    @property
    def told(self) -> str:
        """Why a run of the plan does nothing."""
        name = f"{self.tag} of {self.plan.repository}"
        if self.withdrawal is None:
            return f"is published already as {name}"
        instead = "Another recipe, or `publish run --rebuild` with other versions, makes another one"
        return f"was withdrawn as {name}: {self.withdrawal.reason} {instead}"


@dataclass(frozen=True)
class OnDisk:
    """The files of this machine that a plan names: another version names them by another digest.

    Until 0.3.0 that was their SHA-256, and of a judge all files; it is computed only to compare with such a plan.

    Attributes:
        source: The folder that the source is.
        loras: The file of each LoRA that is on this disk, by its place in the plan.
        judges: The folder of each judge that is on this disk, by metric.
    """

    source: Path | None = None
    loras: Mapping[int, Path] = field(default_factory=dict)
    judges: Mapping[str, Path] = field(default_factory=dict)

    def listed(self, plan: TargetPlan, published: TargetPlan) -> TargetPlan:
        """Return a plan in which these files are listed as a published plan lists them, where they are those files."""
        files, loras, judges = dict(plan.files), list(plan.loras), dict(plan.validation.judges)
        if self.source is not None:
            files = {name: vouched(file, published.files.get(name), self.source / name) for name, file in files.items()}
        for at, path in self.loras.items():
            other = published.loras[at].listed if at < len(published.loras) else None
            loras[at] = loras[at].model_copy(update={"listed": vouched(loras[at].listed, other, path)})
        for metric, folder in self.judges.items():
            pinned = published.validation.judges.get(metric)
            if pinned not in {None, judges[metric]} and pinned == digest_of(manifest_of(folder).model_dump()):
                judges[metric] = pinned
        validation = plan.validation.model_copy(update={"judges": judges})
        return plan.model_copy(update={"files": files, "loras": tuple(loras), "validation": validation})


def withdrawn_before(hub: Hub, plan: TargetPlan, withdrawn: Withdrawals, disk: OnDisk) -> Iterator[Earlier]:
    """Yield the releases of this plan that were withdrawn, the newest first.

    A withdrawal names a plan with its versions, so the plan that lies at its commit is read and compared.

    Args:
        hub: Where they are.
        plan: The plan.
        withdrawn: What was withdrawn of its repository.
        disk: The files of this machine that it names.

    Raises:
        HubUnavailableError: The Hub does not answer.
    """
    for tag in sorted(withdrawn.tags, key=lambda tag: (len(tag), tag), reverse=True):
        found = withdrawn.tags[tag]
        published = plan_at(hub, plan.repository, found.commit)
        if published is not None and disk.listed(plan, published).asks_the_same(published):
            yield Earlier(published, tag, found.commit, found)


def vouched(file: ListedFile, published: ListedFile | None, path: Path) -> ListedFile:
    """Return how a published plan lists a file, if it does so by another digest and it is that file; else as it is."""
    other = published is not None and published.kind != file.kind
    return published if published and other and published.describes(path) else file


def plan_at(hub: Hub, repo: str, commit: str) -> TargetPlan | None:
    """Return the plan that was published at a commit, or None where there is none that this version reads."""
    try:
        text = hub.content(repo, commit, PLAN, LARGEST)
    except RemoteChangedError:  # the commit is gone
        return None
    return None if text is None else read_plan(text)


def same_bytes(hub: Hub, earlier: Earlier, plan: TargetPlan, folder: Path) -> bool:
    """Return whether a folder that could be released has the checkpoint that was released, under a card in its words.

    Args:
        hub: Where it was released.
        earlier: That release.
        plan: The plan of the folder.
        folder: The folder, with its manifest.

    Raises:
        VerificationError: The release has no manifest of ours.
        HubUnavailableError: The Hub does not answer.
    """
    repo = plan.repository
    text = hub.content(repo, earlier.commit, MANIFEST, LARGEST)
    try:
        there = Manifest.model_validate_json(text or b"")
    except ValidationError as error:
        where, remedy = f"{repo}@{earlier.commit[:12]}/{MANIFEST}", "Look at who wrote it in its history."
        raise VerificationError("The manifest of the release cannot be read.", where=where, remedy=remedy) from error
    here = Manifest.model_validate_json((folder / MANIFEST).read_bytes())
    return checkpoint(here) == checkpoint(there) and plan.template_digest == earlier.plan.template_digest


def checkpoint(manifest: Manifest) -> dict[str, FileEntry]:
    """Return the files of a release that a model is loaded from, and the license beside them."""
    return {name: file for name, file in manifest.files.items() if name not in TOLD and not name.startswith("publish/")}

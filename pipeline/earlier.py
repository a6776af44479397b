"""Earlier: the release of a plan that was made before, by whatever versions, and whether a build has its bytes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pydantic import ValidationError

from pipeline.errors import RemoteChangedError, VerificationError
from pipeline.files import FileEntry, Manifest
from pipeline.hub.client import Hub
from pipeline.hub.withdrawn import Withdrawal, Withdrawals
from pipeline.plan import TargetPlan, read_plan
from pipeline.published import CARD, MANIFEST, MEDIAN, PLAN, WORST

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
        return f"was withdrawn as {name}: {self.withdrawal.why} `publish run --rebuild` makes it with what is installed"


def withdrawn_before(hub: Hub, plan: TargetPlan, withdrawn: Withdrawals) -> Iterator[Earlier]:
    """Yield the releases of this plan that were withdrawn, the newest first.

    A withdrawal names a plan with its versions, so the plan that lies at its commit is read and compared.

    Raises:
        HubUnavailableError: The Hub does not answer.
    """
    for tag in sorted(withdrawn.tags, key=lambda tag: (len(tag), tag), reverse=True):
        found = withdrawn.tags[tag]
        published = plan_at(hub, plan.repository, found.commit)
        if published is not None and plan.asks_the_same(published):
            yield Earlier(published, tag, found.commit, found)


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
    """Return the files of a release that a pipeline is loaded from, and the license beside them."""
    return {name: file for name, file in manifest.files.items() if name not in TOLD and not name.startswith("publish/")}

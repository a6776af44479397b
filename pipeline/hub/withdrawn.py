"""Which tags of a published repository were withdrawn, and why: ``publish/yanked.json`` on its ``main``.

The file is no part of any build: a release neither writes nor removes it, so that the history of a repository outlives
the checkpoints in it. A tag that was withdrawn stays where it is; this file is what says that it was.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from pydantic import BaseModel, ConfigDict, ValidationError

from pipeline.errors import VerificationError
from pipeline.hub.release_files import YANKED

if TYPE_CHECKING:
    from pipeline.hub.client import Hub

LARGEST: Final = 4 << 20  # bytes; a repository has dozens of tags


class Withdrawal(BaseModel):
    """One tag that was withdrawn.

    Attributes:
        commit: What the tag points to, which stays so.
        plan: The digest of the ``publish/plan.json`` there; a run of a plan that asks the same publishes nothing.
        why: The reason as it was given, one line.
        new_version: The repository to use instead.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    commit: str
    plan: str
    why: str
    new_version: str | None = None

    @property
    def reason(self) -> str:
        """The reason as a whole sentence, which another may follow."""
        return self.why if self.why.endswith((".", "!", "?", "…")) else f"{self.why}."


class Shown(BaseModel):
    """What ``main`` shows beneath the commits that withdrew something: a tag, its commit, its plan's digest."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    tag: str
    commit: str
    plan: str


class Withdrawals(BaseModel):
    """Everything that was withdrawn of one repository.

    Attributes:
        tags: The withdrawn tags by name.
        shown: The release that ``main`` showed when it was last written; a later release does not change it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    tags: dict[str, Withdrawal] = {}
    shown: Shown | None = None

    def tag_of(self, digest: str) -> str | None:
        """Return the tag of the plan that ``main`` shows, where commits that withdrew something lie above it."""
        return self.shown.tag if self.shown is not None and self.shown.plan == digest else None


def read_withdrawals(hub: Hub, repo: str, commit: str) -> Withdrawals:
    """Return what a commit of ``main`` says was withdrawn; nothing where it has no such file.

    Raises:
        VerificationError: The file is none of ours, or not whole.
        HubUnavailableError: The Hub does not answer.
    """
    text = hub.content(repo, commit, YANKED, LARGEST)
    if text is None:
        return Withdrawals()
    try:
        return Withdrawals.model_validate_json(text)
    except ValidationError as error:
        remedy = "Look at who wrote it in the repository's history, and restore it from there."
        where = f"{repo}@{commit[:12]}/{YANKED}"
        raise VerificationError("The list of withdrawn tags cannot be read.", where=where, remedy=remedy) from error

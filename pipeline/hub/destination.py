"""A repository that is published to: what it is now, and the few calls that change it.

Calls that do something anew each time are made once. Whether one whose answer was lost has been made is for the caller
to find out by looking; each of them says what it expects to find, so that one that comes late changes nothing.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from pipeline.errors import RemoteChangedError
from pipeline.files import ListedFile
from pipeline.hub import ownership, uploads
from pipeline.hub.answers import Opened, Talk
from pipeline.hub.client import Gate, Hub, pointing, tagged
from pipeline.hub.ownership import Holdings
from pipeline.hub.release_files import ReleaseFolder
from pipeline.hub.xet import ProgressCallback

PULL = re.compile(r"refs/pr/([0-9]{1,9})")


@dataclass(frozen=True)
class Refs:
    """Where branches and tags point.

    Attributes:
        head: The commit of ``main``.
        tags: Commit by tag.
        pulls: Commit by number of pull request.
    """

    head: str
    tags: Mapping[str, str]
    pulls: Mapping[int, str]


@dataclass(frozen=True)
class Staged:
    """A commit on a pull request that nobody has merged."""

    number: int
    commit: str


class Destination:
    """One repository, seen with one token.

    Args:
        hub: The Hub.
        repo: The repository; it need not be there yet.
    """

    def __init__(self, hub: Hub, repo: str) -> None:
        self.hub = hub
        self.repo = repo

    def refs(self) -> Refs | None:
        """Return where everything points; None where there is no such repository."""
        from huggingface_hub.errors import RepositoryNotFoundError

        with self.hub.asking(self.repo):
            try:
                refs = self.hub.api.list_repo_refs(self.repo, include_pull_requests=True)
            except RepositoryNotFoundError:
                return None
            heads, tags, pulls = pointing(refs.branches), tagged(refs.tags), pointing(refs.pull_requests or [])
        if "refs/heads/main" not in heads:
            raise RemoteChangedError("The repository has no branch main.", where=self.repo, remedy="Create it again.")
        return Refs(
            heads["refs/heads/main"],
            tags,
            {int(found[1]): commit for name, commit in pulls.items() if (found := PULL.fullmatch(name))},
        )

    def tree(self, revision: str) -> dict[str, ListedFile]:
        """List the files at a revision."""
        return self.hub.tree(self.repo, revision)

    def create(self, *, private: bool) -> None:
        """Create the repository unless it is there."""
        with self.hub.asking(self.repo):
            self.hub.api.create_repo(self.repo, private=private, exist_ok=True)

    def require_private(self) -> None:
        """Refuse a repository that everybody sees where the release is for its owners alone.

        Raises:
            RemoteChangedError: It is public.
        """
        with self.hub.asking(self.repo):
            if not self.hub.api.repo_info(self.repo).private:
                raise RemoteChangedError(
                    "The repository is public, and the recipe says `private: true`.",
                    where=self.repo,
                    remedy=f"Make it private in {self.hub.endpoint}/{self.repo}/settings, or take that out of the "
                    "recipe, then run again; nothing was published.",
                )

    def gate(self, gated: Gate) -> None:
        """Have the repository ask for access as the source does, unless it does so already."""
        with self.hub.asking(self.repo):
            if self.hub.api.repo_info(self.repo).gated != gated:
                self.hub.api.update_repo_settings(self.repo, gated=gated)

    def last_release(self, refs: Refs) -> str | None:
        """Return the newest release on ``main``, or None."""
        return ownership.last_release(self.hub, self.repo, refs.head, refs.tags)

    def holdings(self, refs: Refs) -> Holdings:
        """Return what ``main`` holds, and what of it is ours."""
        return ownership.look_at(self.hub, self.repo, refs.head, refs.tags, self.last_release(refs))

    def open_pulls(self, title: str) -> list[int]:
        """Return the open pull requests of a title that this token's bearer opened, the oldest first."""
        with self.hub.asking(self.repo):
            talks = self.hub.api.get_repo_discussions(
                self.repo, discussion_type="pull_request", discussion_status="open"
            )
            alike = [talk for talk in map(Talk.of, talks) if talk.title == title]
        us = self.hub.bearer() if alike else None  # without a token everybody here is the same one
        return sorted(talk.num for talk in alike if us is None or talk.author == us.name)

    def stage(self, build: ReleaseFolder, parent: str, title: str, heard: ProgressCallback) -> Staged:
        """Commit a build as the whole content of a new pull request on ``parent``.

        Raises:
            HubUnavailableError: It did not answer, and may have done it all the same.
        """
        with self.hub.asking(self.repo):
            change = build.change(self.tree(parent))
            large = uploads.send(self.hub, self.repo, change, heard)
            lines = uploads.commit_lines(change, large, parent, title)
            made = Opened.of(uploads.commit(self.hub, self.repo, lines, pull=True))
        return Staged(made.number, made.commitOid)

    def promote(self, build: ReleaseFolder, parent: str, title: str, staged: str) -> None:
        """Commit a build to ``main`` as the commit after ``parent``, or not at all.

        Its large files are at the commit ``staged`` already, so they are named and not sent.

        Merging a pull request would take whatever ``main`` and the pull request are by then. A commit that names its
        parent and every file by its digest is the tree that was proven, or it is refused.

        Raises:
            RemoteChangedError: ``main`` is no longer ``parent``.
            HubUnavailableError: It did not answer, and may have done it all the same.
        """
        with self.hub.asking(self.repo):
            change = build.change(self.tree(parent))
            large = {name for name, file in self.tree(staged).items() if file.sha256 is not None}
            uploads.commit(self.hub, self.repo, uploads.commit_lines(change, large, parent, title))

    def parent_of(self, commit: str) -> str | None:
        """Return the commit that a commit follows."""
        newest = ownership.commits(self.hub, self.repo, commit)
        return newest[1].id if len(newest) > 1 else None

    def described(self, commit: str) -> str:
        """Return who made a commit, when, and what they called it."""
        newest = ownership.commits(self.hub, self.repo, commit)
        return newest[0].described if newest else "a commit that the Hub does not show"

    def close(self, number: int, why: str) -> None:
        """Close a pull request that will not be merged."""
        with self.hub.asking(self.repo):
            self.hub.api.change_discussion_status(self.repo, number, "closed", comment=why)

    def tag(self, tag: str, commit: str) -> None:
        """Tag a commit; a tag that is there stays where it is."""
        with self.hub.asking(self.repo):
            self.hub.api.create_tag(self.repo, tag=tag, revision=commit, exist_ok=True)

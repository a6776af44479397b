"""What a repository remembers: files of a tree, commits, pull requests, and the one record that changes."""

from __future__ import annotations

import secrets
from datetime import UTC, datetime
from typing import Any, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict

from localhub.git import pointer_text

Gated = Literal["auto", "manual", False]
Visibility = Literal["public", "private"]


class Blob(NamedTuple):
    """One file of a tree: its git blob id (of the pointer for a large file), its bytes, where they are kept."""

    oid: str
    size: int
    sha256: str
    lfs: bool

    @property
    def pointer_size(self) -> int:
        """Bytes of the pointer that git keeps in place of a large file."""
        return len(pointer_text(self.sha256, self.size))


class Tree(NamedTuple):
    """All files of a commit by path, and the git tree id of every folder; the root's path is empty."""

    files: dict[str, Blob]
    folders: dict[str, str]

    @property
    def oid(self) -> str:
        """The git tree id of the root."""
        return self.folders[""]


class Commit(BaseModel):
    """A commit. Its id covers tree, parents, title and description; author and date stand beside it."""

    model_config = ConfigDict(frozen=True)

    oid: str
    tree: str
    parents: tuple[str, ...]
    title: str
    description: str
    author: str
    date: str


class Event(BaseModel):
    """One entry of a pull request, its ``data`` shaped as the client's ``deserialize_event`` reads it."""

    id: str
    type: str
    author: str
    created: str
    data: dict[str, Any]


class PullRequest(BaseModel):
    """A pull request into the ``base`` ref."""

    num: int
    title: str
    author: str
    created: str
    base: str
    status: Literal["open", "closed", "draft"] = "open"
    events: list[Event] = []

    @property
    def ref(self) -> str:
        """The ref that holds its commits."""
        return f"refs/pr/{self.num}"

    def tell(self, kind: Literal["comment", "status-change", "commit"], author: str, **data: Any) -> Event:
        """Append an event and return it."""
        event = Event(id=secrets.token_hex(12), type=kind, author=author, created=now(), data=data)
        self.events.append(event)
        return event


class State(BaseModel):
    """Everything of a repository that changes, kept in one file so that each change is one rename."""

    created: str
    visibility: Visibility = "public"
    gated: Gated = False
    refs: dict[str, str] = {}
    pulls: list[PullRequest] = []

    def pull(self, ref: str) -> PullRequest | None:
        """Return the pull request whose commits a ref holds."""
        return next((found for found in self.pulls if found.ref == ref), None)


def now() -> str:
    """Return the time in the only format that the client parses."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"

"""Ownership: which files on a repository's ``main`` a release of ours put there, and which are somebody's.

Ours is what the manifest of the newest release on ``main`` lists. That release is the newest commit with a version's
tag, or with the title of a release, where a run was killed before its tag. Every other file is kept by every release; a
file of ours that is not as it was released was changed by somebody. A withdrawal above a release is ours as well.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, field
from itertools import islice, zip_longest
from typing import TYPE_CHECKING, Final

from pydantic import ValidationError

from pipeline.files import ListedFile, Manifest
from pipeline.hub.answers import Made
from pipeline.published import CARD, MANIFEST, SIGNATURE, YANKED

if TYPE_CHECKING:
    from datetime import datetime

    from pipeline.hub.client import Hub

VERSION_TAG: Final = re.compile(r"v([1-9][0-9]*)")
RELEASED: Final = re.compile(r"Publish .+ \([0-9a-f]{12}\) \(#[0-9]+\)")
WITHDREW: Final = re.compile(r"Yank v[1-9][0-9]*")
NOT_OURS: Final = frozenset({".gitattributes", YANKED})  # what a release neither writes nor removes
PAGE: Final = 50  # commits that the Hub shows at once
LARGEST: Final = 64 << 20  # bytes of a manifest
NAMED: Final = 5  # paths that a message names


@dataclass(frozen=True)
class Commit:
    """A commit of a history."""

    id: str
    title: str
    authors: str
    date: datetime

    def __str__(self) -> str:
        """Return which it is, what they called it, who made it, and when."""
        return f"{self.id[:12]} ({self.described})"

    @property
    def described(self) -> str:
        """What they called it, who made it, and when."""
        return f"{self.title!r} by {self.authors} on {self.date:%Y-%m-%d %H:%M} UTC"

    @property
    def is_ours(self) -> bool:
        """Whether it has the title of a release or a withdrawal."""
        return bool(RELEASED.fullmatch(self.title) or WITHDREW.fullmatch(self.title))


@dataclass(frozen=True)
class Change:
    """What one commit of somebody did."""

    commit: Commit
    paths: Sequence[str]


@dataclass(frozen=True)
class Holdings:
    """What ``main`` holds, and what of it is ours.

    Attributes:
        head: The commit that ``main`` is.
        tree: Its files.
        release: The newest release on it; None where nothing on it is ours.
        tag: What that release is called.
        ours: The paths that its manifest lists, and the manifest's own.
        then: All files as our own commits left them.
    """

    head: str
    tree: Mapping[str, ListedFile]
    release: str | None = None
    tag: str = ""
    ours: Set[str] = field(default_factory=frozenset)
    then: Mapping[str, ListedFile] = field(default_factory=dict)

    @property
    def others(self) -> list[str]:
        """The files on ``main`` that are not ours."""
        return sorted(self.tree.keys() - self.ours - NOT_OURS)

    @property
    def changed(self) -> list[str]:
        """The paths of ours that somebody edited or deleted."""
        return sorted(name for name in self.ours if self.tree.get(name) != self.then.get(name))

    @property
    def added(self) -> list[str]:
        """The files that somebody added since the release, or edited among those that are not ours."""
        return [name for name in self.others if self.release and self.tree[name] != self.then.get(name)]

    def kept(self, written: Set[str]) -> list[str]:
        """Return the files that a release leaves as they are, which writes these paths."""
        return [name for name in self.others if name not in written]

    def overwritten(self, written: Set[str]) -> list[str]:
        """Return the files of somebody that stand where a release writes its own."""
        return [name for name in self.others if name in written]

    def gone(self, written: Set[str]) -> frozenset[str]:
        """Return the paths of the last release that the next one no longer has."""
        return frozenset(self.ours - written - NOT_OURS)


def commits(hub: Hub, repo: str, revision: str) -> list[Commit]:
    """Return the newest commits of a revision, one page of them; no more is asked for."""
    from huggingface_hub.utils._headers import build_hf_headers
    from huggingface_hub.utils._pagination import paginate

    headers = build_hf_headers(token=hub.api.token, library_name="quantpress")
    with hub.asking(repo):
        rows = paginate(f"{hub.endpoint}/api/models/{repo}/commits/{revision}", {}, headers)
        page = [Made.of(row) for row in islice(rows, PAGE)]
        return [
            Commit(made.id, made.title, ", ".join(by.user for by in made.authors) or "somebody", made.date)
            for made in page
        ]


def version_at(tags: Mapping[str, str], commit: str | None) -> str | None:
    """Return the newest version whose tag is on a commit."""
    return newest_of(tag for tag, at in tags.items() if at == commit)


def newest_of(tags: Iterable[str]) -> str | None:
    """Return the tag of the highest version."""
    return max((tag for tag in tags if VERSION_TAG.fullmatch(tag)), key=lambda tag: int(tag[1:]), default=None)


def last_release(hub: Hub, repo: str, head: str, tags: Mapping[str, str]) -> str | None:
    """Return the newest release on ``main``, or None; no history is asked for where ``main`` is one.

    Where none of the newest commits is one, it is that of the newest version.
    """
    if version_at(tags, head):
        return head
    for commit in commits(hub, repo, head):
        if RELEASED.fullmatch(commit.title) or version_at(tags, commit.id):
            return commit.id
    newest = newest_of(tags)
    return tags[newest] if newest else None


def look_at(hub: Hub, repo: str, head: str, tags: Mapping[str, str], release: str | None) -> Holdings:
    """Return what ``main`` holds.

    Args:
        hub: The Hub.
        repo: The repository.
        head: What its ``main`` is.
        tags: Commit by tag.
        release: What `last_release` found.

    Raises:
        HubUnavailableError: The Hub does not answer.
    """
    tree = hub.tree(repo, head)
    then = tree if release in {head, None} else hub.tree(repo, str(release))
    manifest = read_manifest(hub, repo, release) if release else None
    if manifest is None:
        return Holdings(head, tree)
    if release != head and (withdrawal := last_withdrawal(hub, repo, head, str(release))):
        told = hub.tree(repo, withdrawal)
        then = {**then, **{name: told[name] for name in (CARD, MANIFEST) if name in told}}
    ours = (manifest.files.keys() | ({MANIFEST, SIGNATURE} & then.keys())) - NOT_OURS
    return Holdings(head, tree, release, version_at(tags, release) or str(release)[:12], ours, then)


def read_manifest(hub: Hub, repo: str, commit: str) -> Manifest | None:
    """Return the manifest at a commit, or None where there is none of ours."""
    content = hub.content(repo, commit, MANIFEST, LARGEST)
    if content is None:
        return None
    try:
        return Manifest.model_validate_json(content)
    except ValidationError:
        return None


def last_withdrawal(hub: Hub, repo: str, head: str, release: str) -> str | None:
    """Return the newest commit above a release that withdrew something."""
    for commit in commits(hub, repo, head):
        if commit.id == release:
            return None
        if WITHDREW.fullmatch(commit.title):
            return commit.id
    return None


def changes(hub: Hub, repo: str, holdings: Holdings) -> list[Change]:
    """Return what somebody did to ``main`` since the release, the newest commit first.

    Of two commits that touch one path the newer one is named; what was undone since is not.
    """
    left = {*holdings.changed, *holdings.added}
    found: list[Change] = []
    tree = holdings.tree
    page = commits(hub, repo, holdings.head) if left else []
    for commit, before in zip_longest(page, page[1:]):
        if commit.id == holdings.release or not left:
            break
        older = hub.tree(repo, before.id) if before else holdings.then
        touched = sorted(name for name in left if tree.get(name) != older.get(name))
        if touched and not commit.is_ours:
            found.append(Change(commit, touched))
            left -= set(touched)
        tree = older
    return found


def named(paths: Sequence[str]) -> str:
    """Return paths for people: the first few, and how many more there are."""
    more = f" and {len(paths) - NAMED} more" if len(paths) > NAMED else ""
    return ", ".join(paths[:NAMED]) + more

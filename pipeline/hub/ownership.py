"""Ownership: which files on a repository's ``main`` a release of ours put there, and which are somebody's.

Ours is what the manifest of the newest release on ``main`` lists and that commit holds just so. That release is the
newest commit with the title of one; a tag names it and makes none, for anybody sets tags. Every other file is kept by
every release; a file of ours that is not as it was released was changed by somebody. A withdrawal above a release is
ours as well, if it changed what withdrawals change, and of a card or manifest that was as released.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, field
from hashlib import sha256
from itertools import chain, islice, pairwise, zip_longest
from typing import TYPE_CHECKING, Final

from pydantic import ValidationError

from pipeline.files import FileEntry, ListedFile, Manifest
from pipeline.hub.answers import Commit
from pipeline.hub.release_files import CARD, MANIFEST, SIGNATURE, YANKED

if TYPE_CHECKING:
    from pipeline.hub.client import Hub

VERSION_TAG: Final = re.compile(r"v([1-9][0-9]*)")
RELEASED: Final = re.compile(r"Publish .+ \([0-9a-f]{12}\) \(#[0-9]+\)")
WITHDREW: Final = re.compile(r"Yank v[1-9][0-9]*")
NOT_OURS: Final = frozenset({".gitattributes", YANKED})  # what a release neither writes nor removes
WITHDRAWN: Final = frozenset({CARD, MANIFEST, YANKED})  # what a withdrawal changes
PAGE: Final = 50  # commits that the Hub shows at once
MOST: Final = 500  # commits that are read in search of a release
OLDER: Final = 5  # tags that are looked at where no commit of main is a release
LARGEST: Final = 64 << 20  # bytes of a manifest
NAMED: Final = 5  # paths that a message names


@dataclass(frozen=True)
class Holdings:
    """What ``main`` holds, and what of it is ours.

    Attributes:
        head: The commit that ``main`` is.
        tree: Its files.
        release: The newest release on it; None where nothing on it is ours.
        tag: What that release is called.
        ours: The paths that its manifest lists as they are there, and the manifest's own.
        then: All files as our own commits left them.
        withdrawals: The commits above it that withdrew something.
    """

    head: str
    tree: Mapping[str, ListedFile]
    release: str | None = None
    tag: str = ""
    ours: Set[str] = field(default_factory=frozenset)
    then: Mapping[str, ListedFile] = field(default_factory=dict)
    withdrawals: Set[str] = field(default_factory=frozenset)

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


def commits(
    hub: Hub, repo: str, revision: str, most: int = PAGE, last: Callable[[Commit], bool] = lambda _: False
) -> list[Commit]:
    """Return the newest commits of a revision to the first for which ``last`` holds; no page after it is asked for."""
    from huggingface_hub.utils._pagination import paginate

    with hub.asking(repo):
        rows = paginate(f"{hub.endpoint}/api/models/{repo}/commits/{revision}", {}, hub.headers())
        found: list[Commit] = []
        for commit in map(Commit.of, islice(rows, most)):
            found.append(commit)
            if last(commit):
                break
        return found


def is_release(commit: Commit) -> bool:
    """Return whether a commit has the title of a release."""
    return bool(RELEASED.fullmatch(commit.title))


def version_at(tags: Mapping[str, str], commit: str | None) -> str | None:
    """Return the newest version whose tag is on a commit."""
    return newest_of(tag for tag, at in tags.items() if at == commit)


def newest_of(tags: Iterable[str]) -> str | None:
    """Return the tag of the highest version."""
    return max((tag for tag in tags if VERSION_TAG.fullmatch(tag)), key=lambda tag: int(tag[1:]), default=None)


def last_release(hub: Hub, repo: str, head: str, tags: Mapping[str, str]) -> str | None:
    """Return the newest release on ``main``, or None.

    Where none of its newest 500 commits is one, as after the history was squashed, it is that of the newest version.
    """
    newest = commits(hub, repo, head, MOST, is_release)[-1:]
    versions = sorted(filter(VERSION_TAG.fullmatch, tags), key=lambda tag: int(tag[1:]), reverse=True)
    tagged = (commits(hub, repo, tags[tag], 1) for tag in versions[:OLDER])
    for commit in chain(newest, chain.from_iterable(tagged)):
        if is_release(commit):
            return commit.id
    return None


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
    then: Mapping[str, ListedFile] = tree if release in {head, None} else hub.tree(repo, str(release))
    if release is None:
        return Holdings(head, tree)
    manifest = read_manifest(hub, repo, release)
    tag = version_at(tags, release)
    listed = {name for name, file in manifest.files.items() if is_same(file, then.get(name))} if manifest else set()
    # Anybody may squash a history and give what is left a title of ours.
    if manifest and tag is None and was_squashed(hub, repo, head, tags):
        small = {name: manifest.files[name] for name in listed if then[name].sha256 is None}
        contents = {name: hub.content(repo, release, name, file.size) or b"" for name, file in small.items()}
        listed -= {name for name, file in small.items() if sha256(contents[name]).hexdigest() != file.sha256}
    ours = (listed | ({MANIFEST, SIGNATURE} & then.keys() if manifest else set())) - NOT_OURS
    then, withdrawals = with_withdrawals(hub, repo, head, release, then)
    return Holdings(head, tree, release, tag or release[:12], ours, then, withdrawals)


def is_same(entry: FileEntry, listed: ListedFile | None) -> bool:
    """Return whether a manifest's file is the listed one; of small ones the Hub tells no digest that it has."""
    return listed is not None and listed.size == entry.size and listed.sha256 in {None, entry.sha256}


def was_squashed(hub: Hub, repo: str, head: str, tags: Mapping[str, str]) -> bool:
    """Return whether the newest version is no longer in the history of ``main``, as far as one page of it tells."""
    newest = newest_of(tags)
    return newest is not None and tags[newest] not in {commit.id for commit in commits(hub, repo, head)}


def read_manifest(hub: Hub, repo: str, commit: str) -> Manifest | None:
    """Return the manifest at a commit, or None where there is none of ours."""
    content = hub.content(repo, commit, MANIFEST, LARGEST)
    if content is None:
        return None
    try:
        return Manifest.model_validate_json(content)
    except ValidationError:
        return None


def with_withdrawals(
    hub: Hub, repo: str, head: str, release: str, then: Mapping[str, ListedFile]
) -> tuple[Mapping[str, ListedFile], Set[str]]:
    """Return a release's files as the withdrawals above it left them, and the commits of those.

    One that built on a card or manifest of somebody leaves it theirs; its title alone makes a commit none.
    """
    above = commits(hub, repo, head, MOST, lambda commit: commit.id == release) if head != release else []
    found: set[str] = set()
    for before, commit in pairwise(reversed(above)):  # the oldest first
        if not WITHDREW.fullmatch(commit.title):
            continue
        old, new = hub.tree(repo, before.id), hub.tree(repo, commit.id)
        touched = {name for name in old.keys() | new.keys() if old.get(name) != new.get(name)}
        if YANKED in touched & new.keys() and touched <= WITHDRAWN:
            found.add(commit.id)
            then = {**then, **{n: new[n] for n in touched & new.keys() if old.get(n) == then.get(n)}}
    return then, found


def changes(hub: Hub, repo: str, holdings: Holdings) -> dict[Commit, set[str]]:
    """Return the paths that somebody changed on ``main`` since the release by commit, the newest first.

    Of two commits that touch one path the newer one is named; what was undone since is not.
    """
    left = {*holdings.changed, *holdings.added}
    found: dict[Commit, set[str]] = {}
    tree = holdings.tree
    page = commits(hub, repo, holdings.head, MOST, lambda commit: commit.id == holdings.release) if left else []
    for commit, before in zip_longest(page, page[1:]):
        if commit.id == holdings.release or not left:
            break
        older = hub.tree(repo, before.id) if before else holdings.then
        touched = {name for name in left if tree.get(name) != older.get(name)}
        if touched and commit.id not in holdings.withdrawals:
            found[commit] = touched
            left -= touched
        tree = older
    return found


def named(paths: Sequence[str]) -> str:
    """Return paths for people: the first few, and how many more there are."""
    more = f" and {len(paths) - NAMED} more" if len(paths) > NAMED else ""
    return ", ".join(paths[:NAMED]) + more

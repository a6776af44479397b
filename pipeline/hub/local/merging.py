"""Bringing one line of commits into another: what both changed since they parted, and where they contradict."""

from __future__ import annotations

from typing import NamedTuple

from pipeline.hub.local.records import Blob
from pipeline.hub.local.repository import Repository


class Merge(NamedTuple):
    """The tree after a merge, and the files that stand in its way; the tree means nothing while there are any."""

    files: dict[str, Blob]
    conflicts: list[str]


def merged(repository: Repository, ours: str, theirs: str) -> Merge:
    """Merge the commit ``theirs`` into ``ours``; a file that both sides changed differently is a conflict."""
    base = _files(repository, fork(repository, ours, theirs))
    our_files, their_files = _files(repository, ours), _files(repository, theirs)
    our_changes, their_changes = _changed(base, our_files), _changed(base, their_files)
    conflicts = {path for path in our_changes & their_changes if our_files.get(path) != their_files.get(path)}
    files = {path: blob for path, blob in our_files.items() if path not in their_changes}
    files |= {path: their_files[path] for path in their_changes if path in their_files}
    conflicts |= {path for path in files if any(folder in files for folder in _folders(path))}
    return Merge(files, sorted(conflicts))


def fork(repository: Repository, ours: str, theirs: str) -> str | None:
    """Return the newest commit that both lines have."""
    known = {commit.oid for commit in repository.history(ours)}
    return next((commit.oid for commit in repository.history(theirs) if commit.oid in known), None)


def _files(repository: Repository, oid: str | None) -> dict[str, Blob]:
    return {} if oid is None else repository.tree(repository.commit(oid).tree).files


def _changed(before: dict[str, Blob], after: dict[str, Blob]) -> set[str]:
    return {path for path in before.keys() | after.keys() if before.get(path) != after.get(path)}


def _folders(path: str) -> list[str]:
    parts = path.split("/")
    return ["/".join(parts[:length]) for length in range(1, len(parts))]

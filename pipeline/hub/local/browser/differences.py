"""What changed between two commits: the files, and the lines of those that are short texts."""

from __future__ import annotations

from collections.abc import Iterator
from difflib import unified_diff
from itertools import islice
from typing import Literal, NamedTuple

from pipeline.hub.local.objects import Objects
from pipeline.hub.local.records import Blob
from pipeline.hub.local.repository import Repository

_TEXT_BYTES = 64 << 10
_LINES = 500  # comparing takes the square of it at worst
_TEXTS = 20  # files of one page whose lines are compared


class Difference(NamedTuple):
    """One file that two commits do not share, with the lines that changed where it is a short text."""

    path: str
    what: Literal["added", "deleted", "changed"]
    before: Blob | None
    after: Blob | None
    lines: list[str]


def differences(
    repository: Repository, objects: Objects, before: str | None, after: str, *, with_lines: bool
) -> list[Difference]:
    """Compare the trees of two commits, the first of which may be none.

    Args:
        repository: Where both are.
        objects: The files' contents.
        before: The older commit.
        after: The newer commit.
        with_lines: Whether the reader may see what is in the files.
    """
    old = repository.tree(repository.commit(before).tree).files if before else {}
    new = repository.tree(repository.commit(after).tree).files
    paths = sorted(path for path in old.keys() | new.keys() if old.get(path) != new.get(path))
    compared = 0
    found = []
    for path in paths:
        pair = (old.get(path), new.get(path))
        lines: list[str] = []
        if with_lines and compared < _TEXTS and all(blob is None or _is_short(blob) for blob in pair):
            compared += 1
            lines = list(_changed_lines(objects, *pair))
        what: Literal["added", "deleted", "changed"] = (
            "added" if pair[0] is None else "deleted" if pair[1] is None else "changed"
        )
        found.append(Difference(path, what, *pair, lines))
    return found


def text_of(objects: Objects, blob: Blob) -> str | None:
    """Return what is in a file if it is a short text."""
    if not _is_short(blob):
        return None
    content = objects.path(blob.sha256).read_bytes()
    try:
        return None if b"\0" in content else content.decode()
    except UnicodeDecodeError:
        return None


def _is_short(blob: Blob) -> bool:
    return not blob.lfs and blob.size <= _TEXT_BYTES


def _changed_lines(objects: Objects, before: Blob | None, after: Blob | None) -> Iterator[str]:
    old, new = ("" if blob is None else text_of(objects, blob) for blob in (before, after))
    if old is None or new is None or max(old.count("\n"), new.count("\n")) > _LINES:
        return
    compared = unified_diff(old.splitlines(), new.splitlines(), lineterm="")
    yield from islice(compared, 2, None)  # the first two lines would name the files once more

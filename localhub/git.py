"""Object ids as git computes them: blobs, LFS pointers, nested trees and commits.

Formats: https://git-scm.com/book/en/v2/Git-Internals-Git-Objects and
https://github.com/git-lfs/git-lfs/blob/main/docs/spec.md. Ids depend on content and history alone; author and clock
are constants, so the same pushes give the same ids everywhere.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence

from localhub.files import git_blob_sha1

_WHO = "user <user@hub.local> 0 +0000"
_FILE = b"100644"
_FOLDER = b"40000"


def pointer_text(sha256: str, size: int) -> bytes:
    """Return the file that git keeps in place of a large object."""
    return f"version https://git-lfs.github.com/spec/v1\noid sha256:{sha256}\nsize {size}\n".encode()


def pointer_id(sha256: str, size: int) -> str:
    """Return the blob id of a large object's pointer."""
    return git_blob_sha1(pointer_text(sha256, size))


def tree_ids(blobs: Mapping[str, str]) -> dict[str, str]:
    """Return the tree id of every folder by its path; the root is the empty path.

    Args:
        blobs: The blob id of every file by its path.
    """
    folders: dict[str, dict[str, tuple[bytes, str]]] = {"": {}}
    for path, oid in blobs.items():
        folder, _, name = path.rpartition("/")
        for above in _with_parents(folder):
            folders.setdefault(above, {})
        folders[folder][name] = (_FILE, oid)
    ids = {}
    for folder in sorted(folders, key=_depth, reverse=True):
        ids[folder] = _tree_id(folders[folder])
        if folder:
            above, _, name = folder.rpartition("/")
            folders[above][name] = (_FOLDER, ids[folder])
    return ids


def commit_id(tree: str, parents: Sequence[str], title: str, description: str) -> str:
    """Return the id of a commit by the one constant author."""
    message = f"{title}\n\n{description}\n" if description else f"{title}\n"
    lines = [f"tree {tree}", *(f"parent {parent}" for parent in parents), f"author {_WHO}", f"committer {_WHO}"]
    return _object_id("commit", ("\n".join(lines) + f"\n\n{message}").encode())


def _tree_id(entries: Mapping[str, tuple[bytes, str]]) -> str:
    """Hash one folder; git sorts a folder as if its name ended in a slash."""
    rows = sorted((name.encode(), mode, oid) for name, (mode, oid) in entries.items())
    rows.sort(key=lambda row: row[0] + b"/" if row[1] == _FOLDER else row[0])
    return _object_id("tree", b"".join(mode + b" " + name + b"\0" + bytes.fromhex(oid) for name, mode, oid in rows))


def _object_id(kind: str, content: bytes) -> str:
    return hashlib.sha1(f"{kind} {len(content)}\0".encode() + content, usedforsecurity=False).hexdigest()


def _with_parents(folder: str) -> list[str]:
    parts = folder.split("/")
    return ["/".join(parts[: length + 1]) for length in range(len(parts))]


def _depth(folder: str) -> int:
    return folder.count("/") + bool(folder)

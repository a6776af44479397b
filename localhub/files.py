"""Files of the store: written whole or not at all, and named by their content as git and the Hub name them."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from pathlib import Path
from typing import Any, Final

PIECE: Final = 1 << 20  # bytes that are read, sent or written at once


def write_atomically(path: Path, content: bytes, mode: int = 0o644) -> None:
    """Write a whole file or nothing: aside, flushed to the disk, then renamed over the old one.

    Args:
        path: The file.
        content: What it is to hold.
        mode: Its permissions, which it has before it has its name.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, aside = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        Path(aside).chmod(mode)
        Path(aside).replace(path)
        flush(path.parent)
    except BaseException:  # Ctrl-C, too, leaves nothing behind
        Path(aside).unlink(missing_ok=True)
        raise


def flush(folder: Path) -> None:
    """See a folder's entries on the disk."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def canonical_json(value: Any) -> bytes:
    """Return the one JSON encoding of a value: sorted keys, no spaces, UTF-8, no NaN or Infinity."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def git_blob_sha1(content: bytes) -> str:
    """Return the object id that git gives to a blob of these bytes; the Hub names its small files by it."""
    return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()


def human_size(count: float) -> str:
    """Return a number of bytes for people, in powers of ten as the Hub counts."""
    units = ("B", "kB", "MB", "GB")
    step = next((step for step in range(len(units)) if count < 1000 ** (step + 1)), len(units) - 1)
    return f"{count / 1000**step:.{1 if step else 0}f} {units[step]}"

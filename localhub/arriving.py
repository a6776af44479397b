"""Bytes on their way in: written aside, made durable, and only then given their name."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from starlette.concurrency import run_in_threadpool

from localhub.files import PIECE, human_size
from localhub.refusals import RefusedError

if TYPE_CHECKING:
    from starlette.requests import Request


class Arriving:
    """A file aside that grows, with the SHA-256 of what it holds, until it is moved to its place."""

    def __init__(self, handle: int, path: Path) -> None:
        self.path = path
        self.size = 0
        self.digest = hashlib.sha256()
        self._handle = handle

    def write(self, piece: bytes) -> None:
        """Take the next bytes."""
        self.size += len(piece)
        self.digest.update(piece)
        view = memoryview(piece)
        while view:
            view = view[os.write(self._handle, view) :]

    def move_to(self, path: Path) -> None:
        """Make the bytes durable under a name, replacing what had it."""
        path.parent.mkdir(parents=True, exist_ok=True)
        os.fsync(self._handle)
        self.path.replace(path)


@contextmanager
def aside(folder: Path) -> Iterator[Arriving]:
    """Open a file in a folder; unless it is moved away, nothing remains of it."""
    handle, name = tempfile.mkstemp(dir=folder)
    try:
        with os.fdopen(handle, "wb") as file:
            yield Arriving(file.fileno(), Path(name))
    finally:
        Path(name).unlink(missing_ok=True)


async def receive(request: Request, write: Callable[[bytes], None], most: int) -> None:
    """Write a body piece by piece on a thread; hashing and the disk never hold up other calls.

    Args:
        request: The request.
        write: Takes the next bytes.
        most: Bytes that may come; the first one beyond ends it, and is written nowhere.

    Raises:
        RefusedError: 413 for a longer body.
    """
    received, piece = 0, bytearray()
    async for arrived in request.stream():
        received += len(arrived)
        if received > most:
            raise RefusedError(413, "PayloadTooLarge", f"More than the {human_size(most)} came that belong here.")
        piece += arrived
        if len(piece) >= PIECE:
            await run_in_threadpool(write, bytes(piece))
            piece.clear()
    if piece:
        await run_in_threadpool(write, bytes(piece))

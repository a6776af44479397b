"""The bytes of all files, once each, under their SHA-256; written aside, checked, and only then given their name."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pipeline.files import PIECE, disk_errors
from pipeline.hub.local.refusals import bad_request

_LEFTOVER_SECONDS = 24 * 3600


class Objects:
    """A folder of content-addressed files: ``sha256/ab/ab12...``, with ``incoming/`` for those not yet checked."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._aside = folder / "incoming"
        self._aside.mkdir(parents=True, exist_ok=True)

    def path(self, sha256: str) -> Path:
        """Return where an object lies or would lie."""
        return self._folder / "sha256" / sha256[:2] / sha256

    def has(self, sha256: str, size: int) -> bool:
        """Say whether an object of this size is here."""
        path = self.path(sha256)
        return path.is_file() and path.stat().st_size == size

    def add(self, content: bytes) -> str:
        """Keep a small object and return its SHA-256."""
        sha256 = hashlib.sha256(content).hexdigest()
        if not self.has(sha256, len(content)):
            with self.incoming() as arriving:
                arriving.write(content)
                arriving.keep(sha256, len(content))
        return sha256

    @contextmanager
    def incoming(self) -> Iterator[Incoming]:
        """Open an object for writing; unless it is kept, nothing remains of it."""
        handle, name = tempfile.mkstemp(dir=self._aside)
        try:
            with os.fdopen(handle, "wb") as file:
                yield Incoming(self, file.fileno(), Path(name))
        finally:
            Path(name).unlink(missing_ok=True)

    def part(self, session: str, number: int) -> Path:
        """Return where one part of a large upload waits for the others."""
        return self._aside / session / f"{number:08d}"

    def join(self, session: str, count: int, sha256: str, size: int) -> None:
        """Make one object of the parts 1 to ``count``; each part goes as soon as it is copied, right or wrong."""
        with self.incoming() as whole:
            for number in range(1, count + 1):
                part = self.part(session, number)
                with part.open("rb") as file:
                    while piece := file.read(PIECE):
                        whole.write(piece)
                part.unlink()
            whole.keep(sha256, size)
        self.part(session, 0).parent.rmdir()

    def sweep(self) -> None:
        """Remove what interrupted uploads left behind more than a day ago."""
        for leftover in self._aside.iterdir():
            if time.time() - leftover.stat().st_mtime > _LEFTOVER_SECONDS:
                if leftover.is_dir():
                    shutil.rmtree(leftover)
                else:
                    leftover.unlink()


class Incoming:
    """An object on its way in: hashed while it is written, named only if the hash is the promised one."""

    def __init__(self, objects: Objects, handle: int, path: Path) -> None:
        self._objects = objects
        self._handle = handle
        self._path = path
        self._hash = hashlib.sha256()
        self._size = 0

    def write(self, piece: bytes) -> None:
        """Take the next bytes."""
        with disk_errors(self._path):
            view = memoryview(piece)
            while view:
                view = view[os.write(self._handle, view) :]
        self._hash.update(piece)
        self._size += len(piece)

    def keep(self, sha256: str, size: int) -> None:
        """Give the object its name, or refuse it when its bytes are not the ones announced."""
        if (self._hash.hexdigest(), self._size) != (sha256, size):
            raise bad_request(f"The bytes received are not those of {sha256}: {self._size} of {size} bytes came.")
        self.move_to(self._objects.path(sha256))

    def move_to(self, path: Path) -> None:
        """Make the bytes durable under a name, replacing what had it."""
        path.parent.mkdir(parents=True, exist_ok=True)
        with disk_errors(path):
            os.fsync(self._handle)
            self._path.replace(path)

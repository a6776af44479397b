"""The bytes of all files under their SHA-256, whether they came whole or by Xet."""

from __future__ import annotations

import hashlib
import shutil
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from localhub.arriving import Arriving, aside
from localhub.files import PIECE
from localhub.refusals import bad_request
from localhub.xet.depot import Depot

_LEFTOVER_SECONDS = 24 * 3600


class Objects:
    """A folder of content-addressed files: ``sha256/ab/ab12...``, with ``incoming/`` for those not yet checked.

    What came by Xet lies in ``xet/`` and nowhere else; what came both ways is kept twice.
    """

    def __init__(self, folder: Path) -> None:
        self.xet = Depot(folder / "xet")
        self._folder = folder
        self._aside = folder / "incoming"
        self._aside.mkdir(parents=True, exist_ok=True)

    def path(self, sha256: str) -> Path:
        """Return where an object that came whole lies or would lie."""
        return self._folder / "sha256" / sha256[:2] / sha256

    def size(self, sha256: str) -> int | None:
        """Return an object's size in bytes, or nothing if it is not here."""
        path = self.path(sha256)
        if path.is_file():
            return path.stat().st_size
        file = self.xet.by_sha256(sha256)
        return None if file is None else file.size

    def has(self, sha256: str, size: int) -> bool:
        """Say whether an object of this size is here."""
        return self.size(sha256) == size

    def read_text(self, sha256: str) -> str:
        """Read an object that is here and small enough to be held as text."""
        path = self.path(sha256)
        if path.is_file():
            return path.read_text(encoding="utf-8", errors="replace")
        file = self.xet.by_sha256(sha256)
        return b"".join(self.xet.contents(file, 0, file.size)).decode(errors="replace") if file else ""

    def add(self, content: bytes) -> str:
        """Keep a small object and return its SHA-256."""
        sha256 = hashlib.sha256(content).hexdigest()
        if not self.path(sha256).is_file():
            with self.incoming() as arriving:
                arriving.write(content)
                arriving.keep(sha256, len(content))
        return sha256

    def aside(self) -> AbstractContextManager[Arriving]:
        """Open a file aside; unless it is moved away, nothing remains of it."""
        return aside(self._aside)

    @contextmanager
    def incoming(self) -> Iterator[Incoming]:
        """Open an object for writing; unless it is kept, nothing remains of it."""
        with self.aside() as arriving:
            yield Incoming(self, arriving)

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

    def __init__(self, objects: Objects, arriving: Arriving) -> None:
        self._objects = objects
        self._arriving = arriving
        self._hash = hashlib.sha256()
        self._size = 0

    def write(self, piece: bytes) -> None:
        """Take the next bytes."""
        self._arriving.write(piece)
        self._hash.update(piece)
        self._size += len(piece)

    def keep(self, sha256: str, size: int) -> None:
        """Give the object its name, or refuse it when its bytes are not the ones announced."""
        if (self._hash.hexdigest(), self._size) != (sha256, size):
            raise bad_request(f"The bytes received are not those of {sha256}: {self._size} of {size} bytes came.")
        self.move_to(self._objects.path(sha256))

    def move_to(self, path: Path) -> None:
        """Make the bytes durable under a name, replacing what had it."""
        self._arriving.move_to(path)

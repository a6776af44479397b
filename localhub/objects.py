"""The bytes of all files under their SHA-256, whether they came whole or by Xet."""

from __future__ import annotations

import hashlib
from contextlib import AbstractContextManager
from pathlib import Path

from localhub.arriving import Arriving, aside
from localhub.refusals import bad_request
from localhub.xet.depot import Depot


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
            with self.aside() as arriving:
                arriving.write(content)
                self.keep(arriving, sha256, len(content))
        return sha256

    def aside(self) -> AbstractContextManager[Arriving]:
        """Open a file aside; unless it is moved away, nothing remains of it."""
        return aside(self._aside)

    def keep(self, arriving: Arriving, sha256: str, size: int) -> None:
        """Give an object its name, or refuse it when its bytes are not the ones announced."""
        if (arriving.digest.hexdigest(), arriving.size) != (sha256, size):
            raise bad_request(f"The bytes received are not those of {sha256}: {arriving.size} of {size} bytes came.")
        arriving.move_to(self.path(sha256))

"""A source on a Hub at a commit: its files to be read in ranges, streamed or downloaded."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Final

from blake3 import blake3

from pipeline.errors import SourceError
from pipeline.files import PIECE, ListedFile, disk_errors, hashed
from pipeline.hub.errors import hub_errors
from pipeline.hub.snapshot import Snapshot
from pipeline.hub.transport import new_client

if TYPE_CHECKING:
    from pipeline.hub.client import Hub
    from pipeline.hub.ranges import RemoteFile
    from pipeline.hub.read_ahead import ReadAhead

PARTS: Final = ".parts"
READINGS: Final = 2  # what a line damages comes right the second time


class Repository:
    """A source on a Hub at a commit; satisfies `pipeline.source.layout.Place`."""

    def __init__(self, hub: Hub, repo: str, revision: str, files: Mapping[str, ListedFile]) -> None:
        self.hub = hub
        self.repo = repo
        self.revision = revision
        self.where = f"{repo}@{revision[:12]}"
        self.files = files
        self._read: dict[str, RemoteFile] = {}  # a header is read in two ranges, and the Hub asked for it once

    @cached_property
    def private(self) -> bool:
        """Whether only those see it whom its owner lets in."""
        return self.hub.is_private(self.repo)

    def read(self, name: str, offset: int, length: int) -> bytes:
        """Read a range of a file; fewer bytes at its end."""
        with hub_errors(f"{self.where}/{name}", as_source=True):
            if name not in self._read:
                self._read[name] = self.hub.file(self.repo, self.revision, name, size=self.files[name].size)
            return b"".join(self._read[name].pieces(offset, offset + length, whole=True))

    def read_large(self, name: str, offset: int, length: int, _block: memoryview) -> bytes:
        """Read a range of a file as `read` does: what comes over the network has memory of its own."""
        return self.read(name, offset, length)

    def listed(self, names: Iterable[str]) -> dict[str, ListedFile]:
        """Return some of its files as the Hub lists them, which is with their digests."""
        return {name: self.files[name] for name in names}

    def open(self, name: str, begin: int = 0, **options: int) -> ReadAhead:
        """Open a file to be read forwards, several ranges at a time, without storing it.

        Args:
            name: The file.
            begin: Where the reader will begin.
            **options: Those of `ReadAhead`.
        """
        from pipeline.hub.read_ahead import ReadAhead

        file = self.hub.file(self.repo, self.revision, name, self.files[name].size, new_client())
        return ReadAhead(file, begin, **options)

    def download(self, name: str, folder: Path, heard: Callable[[int], None] = lambda _: None) -> str:
        """Put one file under a folder, proven against the Hub's digest, and return its BLAKE3; a whole one is kept.

        Args:
            name: The file.
            folder: The folder. What came of a file that is not whole lies in its ``.parts``.
            heard: Hears how many of its bytes are there.

        Raises:
            SourceError: Twice the bytes were not what the Hub says they are.
        """
        path, part = folder / name, folder / PARTS / name
        if path.is_file():
            listed, own = hashed(path, self.files[name].hashing(), blake3())
            if listed == self.files[name].digest:
                return own
        begun = part.is_file()  # an earlier run's part may be damaged itself, which says nothing of the Hub
        for _ in range(READINGS + begun):
            if digest := self._continue(name, part, heard):
                path.parent.mkdir(parents=True, exist_ok=True)
                part.replace(path)
                return digest
        raise SourceError(
            f"The bytes of {name} are not those whose digest the Hub lists.",
            where=self.where,
            remedy="A proxy, a disk or the Hub damages them; run again, and if it stays so from another network.",
        )

    @cached_property
    def _served(self) -> Snapshot:
        return Snapshot(self.hub, self.repo, self.revision, as_source=True)

    def _continue(self, name: str, part: Path, heard: Callable[[int], None]) -> str | None:
        """Read what lacks of a part, and return its BLAKE3 if it is the listed file; one that is not is removed."""
        listed, own = self.files[name].hashing(), blake3()
        with disk_errors(part):
            part.parent.mkdir(parents=True, exist_ok=True)
            with part.open("a+b") as file:
                file.seek(0)
                while piece := file.read(PIECE):
                    listed.update(piece)
                    own.update(piece)
                for piece in self._served.pieces(name, file.tell()):
                    listed.update(piece)
                    own.update(piece)
                    file.write(piece)
                    heard(file.tell())
                file.flush()
                os.fsync(file.fileno())
            if listed.hexdigest() == self.files[name].digest:
                return str(own.hexdigest())
            part.unlink()
        return None

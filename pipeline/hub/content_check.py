"""Every byte of a commit, read as any consumer reads it, and hashed as it comes; several files at once."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import CancelledError
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Final

from pipeline.errors import SourceError, VerificationError
from pipeline.events import Event, Listener
from pipeline.files import FileEntry, ListedFile, disk_errors, safe_relative
from pipeline.hub.snapshot import Snapshot

AT_ONCE: Final = 4
NOT_THERE: Final = 404
DAMAGED: Final = (
    "Do not use it: the Hub, or what lies between, damages it, or somebody changed it. Its publisher can tell."
)


@dataclass
class ContentCheck:
    """The reading of one commit.

    Attributes:
        served: The commit.
        listen: Hears of progress in bytes.
        keep: Returns where a file is to be kept as it comes; None where it is only hashed.
        wanted: Says of a file whether it is read.
    """

    served: Snapshot
    listen: Listener
    keep: Callable[[str], Path | None] = lambda _: None
    wanted: Callable[[str], bool] = lambda _: True
    _done: int = 0
    _ended: threading.Event = field(default_factory=threading.Event)
    _counting: threading.Lock = field(default_factory=threading.Lock)

    @cached_property
    def tree(self) -> Mapping[str, ListedFile]:
        """The files that are read, as the Hub lists them."""
        return {name: file for name, file in self.served.tree.items() if self.wanted(name)}

    def read(self) -> dict[str, FileEntry]:
        """Read every file that is wanted and return its size and digest by name.

        Raises:
            VerificationError: With the first file that is found not to be what the Hub lists.
            HubUnavailableError: The Hub does not answer.
        """
        names = sorted(self.tree)
        waiting, ended = SimpleQueue[str](), SimpleQueue[tuple[str, FileEntry | BaseException]]()
        for name in names:
            waiting.put(name)
        for _ in range(min(AT_ONCE, len(names))):
            Thread(target=self._prove_all, args=(waiting, ended), name="proof", daemon=True).start()
        found: dict[str, FileEntry] = {}
        try:
            while len(found) < len(names):
                name, entry = ended.get()
                if isinstance(entry, BaseException):
                    raise entry
                found[name] = entry
        finally:
            self._ended.set()  # after the first difference nobody waits for the rest, nor does the process
        return {name: found[name] for name in names}

    def _prove_all(self, waiting: SimpleQueue[str], ended: SimpleQueue[tuple[str, FileEntry | BaseException]]) -> None:
        """Prove one file after the other until there is none, or it is over."""
        with suppress(Empty):
            while not self._ended.is_set():
                name = waiting.get_nowait()
                try:
                    ended.put((name, self.prove(name)))
                except BaseException as error:  # the reader raises it
                    ended.put((name, error))

    def prove(self, name: str) -> FileEntry:
        """Read one file and compare it with the list.

        Raises:
            VerificationError: It is another.
        """
        listed, size = self.tree[name], 0
        sha256 = hashlib.sha256()
        blob = hashlib.sha1(b"blob %d\0" % listed.size, usedforsecurity=False)  # git's name for a small file
        with self.kept(name) as write:
            for piece in self.pieces(name):
                if self._ended.is_set():
                    raise CancelledError
                sha256.update(piece)
                if listed.git_sha1:
                    blob.update(piece)
                write(piece)
                size += len(piece)
                self.count(name, len(piece))
        found, said = (size, sha256.hexdigest(), blob.hexdigest()), (listed.size, listed.sha256, listed.git_sha1)
        for kind, here, there in zip(("size", "SHA-256", "SHA-1"), found, said, strict=True):
            if there not in {None, here}:
                what = f"{name} has the {kind} {here}, and the Hub lists {there}."
                raise VerificationError(what, where=self.served.where, remedy=DAMAGED)
        return FileEntry(size=size, sha256=sha256.hexdigest())

    def pieces(self, name: str) -> Iterator[bytes]:
        """Yield a file's bytes.

        Raises:
            VerificationError: The Hub lists it and does not have it, or sends another one.
        """
        try:
            yield from self.served.pieces(name)
        except SourceError as error:
            if getattr(getattr(error.__cause__, "response", None), "status_code", NOT_THERE) != NOT_THERE:
                raise  # a refusal: this token may not read it
            raise VerificationError(error.what, where=f"{self.served.where}/{name}", remedy=DAMAGED) from error

    @contextmanager
    def kept(self, name: str) -> Iterator[Callable[[bytes], object]]:
        """Open the place where a file is kept, if it is."""
        path = self.keep(str(safe_relative(name, self.served.where)))
        if path is None:
            yield lambda _: None
            return
        with disk_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("wb") as file:
                yield file.write

    def count(self, name: str, size: int) -> None:
        """Tell how many bytes were read in all."""
        total = sum(file.size for file in self.tree.values())
        with self._counting:
            self._done += size
            self.listen(Event("progress", "verify", self.served.repo, name, self._done, total, "B"))

"""Sealed stage results by key: look, lock, look again, make aside, mark last; and removed the same way back.

A result is a folder ``<stage>/<key>``; it exists only when it is whole. It is made in ``making/`` under a lock that
the system drops with the process, and renamed into place when it is done. What an interrupted run left in ``making/``
is handed to the next one where its builder can go on with it, and removed else. A result that is removed is renamed
away before its first file goes, and never while another process uses it.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from uuid import uuid4

from pipeline.events import Event, Listener, silent
from pipeline.files import disk_errors, empty, files_under, flush, link_or_copy, write_atomically
from pipeline.locks import Lock

TRASH = "removed-"


def room_on(folder: Path) -> int:
    """Return the bytes that are left on the disk of a folder."""
    return shutil.disk_usage(folder).free


class Store:
    """The results under one folder. Those that it returned are kept from removal by other processes while it lives.

    Args:
        root: The folder; made when first needed.
        listen: Hears of waiting for another process.
        room: Returns the bytes that are left on the disk of a folder.
    """

    def __init__(self, root: Path, listen: Listener = silent, room: Callable[[Path], int] = room_on) -> None:
        self.root = root
        self._listen = listen
        self._room = room
        self._used: dict[tuple[str, str], Lock] = {}

    @property
    def aside(self) -> Path:
        """Where results are made, and where nobody looks for them."""
        return self.root / "making"

    def look(self, stage: str, key: str) -> Path | None:
        """Return the sealed result of a stage, which stays while this store lives, or None."""
        path = self.root / stage / key
        if path.is_dir() and (stage, key) not in self._used:
            use = self._lock(stage, f"{key}.used")
            use.share()  # whoever removes it right now needs a moment
            self._used[stage, key] = use
        return path if path.is_dir() else None

    def make(self, stage: str, key: str, build: Callable[[Path], None], *, resume: bool = False) -> Path:
        """Return the sealed result, after building it unless it was there.

        Args:
            stage: The stage's name.
            key: The digest of everything that the result depends on.
            build: Fills an empty folder.
            resume: Whether it can go on with what an interrupted build of the same key left, and gets that instead.

        Raises:
            CannotHereError: The disk is full.
        """
        return self.make_all(stage, [key], lambda folders: build(folders[key]), resume=resume)[0]

    def make_all(
        self, stage: str, keys: Sequence[str], build: Callable[[Mapping[str, Path]], None], *, resume: bool = False
    ) -> list[Path]:
        """Return sealed results in the order of their keys, after building together those that were not there.

        Args:
            stage: The stage's name.
            keys: For each result, the digest of everything that it depends on.
            build: Fills the empty folders of some keys.
            resume: Whether it can go on with what interrupted builds of these keys left, and gets that instead.

        Raises:
            CannotHereError: The disk is full.
        """
        while missing := [key for key in dict.fromkeys(keys) if not self.look(stage, key)]:
            with ExitStack() as locks:
                for key in sorted(missing):  # one order for all, against deadlocks
                    locks.enter_context(self.alone(stage, key))
                # Whoever held a lock until now may have made it.
                folders = {key: self.unfinished(stage, key) for key in missing if not self._sealed(stage, key)}
                if folders:
                    self._build(stage, folders, build, resume=resume)
        return [self.root / stage / key for key in keys]

    def unfinished(self, stage: str, key: str) -> Path:
        """Return the folder in which a result is made, there or not."""
        return self.aside / f"{stage}-{key}"

    def room(self) -> int:
        """Return the bytes that are left on the disk."""
        with disk_errors(self.root):
            self.root.mkdir(parents=True, exist_ok=True)
        return self._room(self.root)

    def to_come(self, stage: str, key: str, size: int) -> int:
        """Return the bytes that the disk must still have for a result of a size: none where it is sealed.

        What an interrupted build left is either kept or removed before, so it counts as there.
        """
        return 0 if self._sealed(stage, key) else max(size - own_bytes(self.unfinished(stage, key)), 0)

    def drop(self, stage: str, key: str) -> bool:
        """Remove a sealed result, and return whether it is gone; it stays where another process uses it."""
        gone = self._move(stage, key, self._trash())
        self.sweep()
        return gone

    def drop_unfinished(self, stage: str, key: str) -> bool:
        """Remove what an interrupted build left, and return whether it is gone; it stays while somebody builds."""
        folder = self.unfinished(stage, key)
        with self._lock(stage, key) as lock:
            if not lock.try_alone():
                return False
            if folder.exists():
                folder.rename(self._trash())
        self.sweep()
        return True

    def in_use(self, stage: str, key: str) -> bool:
        """Return whether another process uses a sealed result, or makes it."""
        if own := self._used.pop((stage, key), None):
            own.close()
        with self._lock(stage, f"{key}.used") as used, self._lock(stage, key) as made:
            return not (used.try_alone() and made.try_alone())

    def set_aside(self, stage: str, key: str, name: str, documents: Mapping[str, bytes]) -> None:
        """Move a sealed result with documents to ``failed/NAME``, where no later stage looks.

        Where another process uses it, it stays where it is as well; where nothing is left of it, nothing is done.
        """
        half, failed = self.aside / f"failed-{name}", self.root / "failed" / name
        with self.alone("failed", name), disk_errors(half):
            self.aside.mkdir(parents=True, exist_ok=True)
            if self._sealed(stage, key):
                self._discard(half)
                if not self._move(stage, key, half):
                    link_all(self.root / stage / key, half)
            if not half.exists():
                return
            for document, content in documents.items():
                write_atomically(half / document, content)
            self._discard(failed)
            seal(half, failed)
        self.sweep()

    def discard_failed(self, name: str) -> None:
        """Remove what was set aside under a name."""
        with self.alone("failed", name):
            self._discard(self.root / "failed" / name)
        self.sweep()

    def sweep(self) -> None:
        """Remove what is on its way out, also what a killed process left there."""
        for trash in self.aside.glob(f"{TRASH}*"):
            shutil.rmtree(trash, ignore_errors=True)

    def _build(
        self,
        stage: str,
        folders: Mapping[str, Path],
        build: Callable[[Mapping[str, Path]], None],
        *,
        resume: bool,
    ) -> None:
        self.sweep()
        with disk_errors(next(iter(folders.values()))):
            for folder in folders.values():
                folder.mkdir(parents=True, exist_ok=True)
                if not resume:
                    empty(folder)
            build(folders)
            for key, folder in folders.items():
                seal(folder, self.root / stage / key)

    def _sealed(self, stage: str, key: str) -> bool:
        return (self.root / stage / key).is_dir()

    def _move(self, stage: str, key: str, to: Path) -> bool:
        """Rename a sealed result unless another process uses it, and return whether it is gone."""
        with self._used.pop((stage, key), None) or self._lock(stage, f"{key}.used") as use:
            if not use.try_alone():
                return False
            if self._sealed(stage, key):
                (self.root / stage / key).rename(to)
                flush(self.root / stage)
            return True

    def _discard(self, folder: Path) -> None:
        if folder.exists():
            folder.rename(self._trash())

    def _trash(self) -> Path:
        with disk_errors(self.aside):
            self.aside.mkdir(parents=True, exist_ok=True)
        return self.aside / f"{TRASH}{uuid4().hex}"

    def _lock(self, stage: str, name: str) -> Lock:
        path = self.root / "locks" / f"{stage}-{name}"
        with disk_errors(path):
            return Lock(path)

    @contextmanager
    def alone(self, stage: str, key: str) -> Iterator[None]:
        """Keep other processes of this home out of a block; waiting for one of them is told."""

        def waiting(process: str) -> None:
            text = f"waits for process {process or '?'}, which makes {stage} {key[:12]} in this home"
            self._listen(Event("note", stage, "", text))

        with self._lock(stage, key) as lock:
            lock.alone(waiting)
            yield


def seal(folder: Path, sealed: Path) -> None:
    """Give a folder that is whole its name, with everything in it on the disk before."""
    for path in folder.rglob("*"):
        if not path.is_symlink():
            flush(path)
    sealed.parent.mkdir(parents=True, exist_ok=True)
    flush(folder)
    folder.rename(sealed)
    flush(sealed.parent)


def link_all(folder: Path, to: Path) -> None:
    """Fill a folder with the files of another."""
    for path in files_under(folder):
        link_or_copy(path, to / path.relative_to(folder))


def own_bytes(folder: Path) -> int:
    """Return the bytes that the disk has again once a folder is removed: without files that lie elsewhere too."""
    found = [path.lstat() for path in folder.rglob("*") if path.is_file() and not path.is_symlink()]
    return sum(min(state.st_size, state.st_blocks * 512) for state in found if state.st_nlink == 1)

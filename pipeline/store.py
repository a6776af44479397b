"""Sealed stage results by key: look, lock, look again, make aside, mark last.

A result is a folder ``<stage>/<key>``; it exists only when it is whole. It is made in ``making/`` under a lock that
the system drops with the process, and renamed into place when it is done. What an interrupted run left in ``making/``
is handed to the next one, which decides what of it still counts.
"""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from pipeline.files import disk_errors


class Store:
    """The results under one folder.

    Args:
        root: The folder; made when first needed.
    """

    def __init__(self, root: Path) -> None:
        self.root = root

    @property
    def aside(self) -> Path:
        """Where results are made, and where nobody looks for them."""
        return self.root / "making"

    def look(self, stage: str, key: str) -> Path | None:
        """Return the sealed result of a stage, or None."""
        path = self.root / stage / key
        return path if path.is_dir() else None

    def make(self, stage: str, key: str, build: Callable[[Path], None]) -> Path:
        """Return the sealed result, after building it unless it was there.

        Args:
            stage: The stage's name.
            key: The digest of everything that the result depends on.
            build: Fills a folder. It is empty, or holds what an interrupted build of the same key left.

        Raises:
            CannotHereError: The disk is full.
        """
        return self.make_all(stage, [key], lambda folders: build(folders[key]))[0]

    def make_all(self, stage: str, keys: Sequence[str], build: Callable[[Mapping[str, Path]], None]) -> list[Path]:
        """Return sealed results in the order of their keys, after building together those that were not there.

        Args:
            stage: The stage's name.
            keys: For each result, the digest of everything that it depends on.
            build: Fills the folders of some keys; each is empty, or holds what an interrupted build of it left.

        Raises:
            CannotHereError: The disk is full.
        """
        with ExitStack() as locks:
            for key in sorted(key for key in keys if not self.look(stage, key)):  # one order for all, against deadlocks
                locks.enter_context(self._locked(stage, key))
            missing = {key: self.aside / f"{stage}-{key}" for key in keys if not self.look(stage, key)}
            if missing:
                self._build(stage, missing, build)
        return [self.root / stage / key for key in keys]

    def _build(self, stage: str, folders: Mapping[str, Path], build: Callable[[Mapping[str, Path]], None]) -> None:
        with disk_errors(next(iter(folders.values()))):
            for aside in folders.values():
                aside.mkdir(parents=True, exist_ok=True)
            build(folders)
            for key, aside in folders.items():
                sealed = self.root / stage / key
                sealed.parent.mkdir(parents=True, exist_ok=True)
                flush_folder(aside)
                aside.rename(sealed)
                flush_folder(sealed.parent)

    def set_aside(self, stage: str, key: str, name: str) -> Path:
        """Move a sealed result to ``failed/``, where no later stage looks, and return its new place."""
        failed = self.root / "failed" / name
        failed.parent.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(failed, ignore_errors=True)
        (self.root / stage / key).rename(failed)
        return failed

    @contextmanager
    def _locked(self, stage: str, key: str) -> Iterator[None]:
        locks = self.root / "locks"
        with disk_errors(locks):
            locks.mkdir(parents=True, exist_ok=True)
        with (locks / f"{stage}-{key}").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield


def flush_folder(path: Path) -> None:
    """See a folder's entries on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)

"""Locks between processes: shared by those who use something, exclusive to the one who makes or removes it.

They are those of flock(2), which the system drops with the process. ``filelock`` has none that are shared, but through
a database a file.
"""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from types import TracebackType
from typing import Final, Self

from pipeline.files import disk_errors

TEMPORARY: Final = "temporary"


class Lock:
    """A file that is locked while this object is open.

    Args:
        path: The file; made where it is not there, and never removed, for somebody may be about to lock it.
    """

    _file = -1

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)

    def share(self) -> None:
        """Use what it stands for, beside others; waits for who has it alone."""
        fcntl.flock(self._file, fcntl.LOCK_SH)

    def try_alone(self) -> bool:
        """Have it alone, unless another process has it; what this object shared before is let go either way."""
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def alone(self, waiting: Callable[[str], None]) -> None:
        """Have it alone, however long that takes.

        Args:
            waiting: Is told the process that has it, where there is one.
        """
        if not self.try_alone():
            waiting(os.pread(self._file, 32, 0).decode(errors="replace"))
            fcntl.flock(self._file, fcntl.LOCK_EX)
        os.ftruncate(self._file, 0)
        os.pwrite(self._file, f"{os.getpid()}".encode(), 0)

    def close(self) -> None:
        """Let go of it."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def __del__(self) -> None:
        self.close()


@contextmanager
def temporary_in(home: Path, kind: str) -> Iterator[Path]:
    """Return a new folder of a home, which is gone afterwards; what killed processes left there is gone before.

    Args:
        home: The home.
        kind: What it is for, which its name begins with.
    """
    with disk_errors(home):
        lock = Lock(home / "locks" / TEMPORARY)
    with lock:
        _clear(home / TEMPORARY, lock)
        lock.share()
        with disk_errors(home):
            (home / TEMPORARY).mkdir(exist_ok=True)
            made = TemporaryDirectory(prefix=f"{kind}-", dir=home / TEMPORARY, ignore_cleanup_errors=True)
        try:
            with made as folder:
                yield Path(folder)
        finally:
            _clear(home / TEMPORARY, lock)


def _clear(folder: Path, lock: Lock) -> None:
    """Remove a folder unless another process is at work in it."""
    if lock.try_alone():
        shutil.rmtree(folder, ignore_errors=True)

"""What no input may do, held by the interpreter itself: write elsewhere, run on, or take all memory."""

from __future__ import annotations

import faulthandler
import os
import resource
import sys
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from pipeline.errors import PublishError

MEMORY: Final = 8 << 30  # bytes of addresses; threads and libraries take most of it without touching it
WRITES: Final = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
CHANGES: Final = {  # audit event: the arguments that are paths, each with the one that is its folder's descriptor
    "os.mkdir": ((0, 2),),
    "os.remove": ((0, 1),),
    "os.rmdir": ((0, 1),),
    "os.rename": ((0, 2), (1, 3)),
    "os.link": ((1, 3),),
    "os.symlink": ((1, 2),),
    "os.truncate": ((0, None),),
    "os.chmod": ((0, 2),),
}


class WroteElsewhere(BaseException):
    """Something was about to be written where nothing may be."""


class Guard:
    """Watches this process, from now on and for ever, so it belongs into a child.

    Attributes:
        allowed: The folder in which may be written; None where nothing may be.
        broken: What was tried elsewhere.
    """

    def __init__(self, allowed: Path | None) -> None:
        self.allowed = allowed
        self.broken: list[str] = []
        sys.addaudithook(self._hear)
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))

    @contextmanager
    def nowhere(self) -> Iterator[None]:
        """Let nothing be written at all."""
        before, self.allowed = self.allowed, None
        try:
            yield
        finally:
            self.allowed = before

    def _hear(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event == "open" and isinstance(arguments[2], int) and arguments[2] & WRITES:
            self._require(event, arguments[0], None)
        for path, folder in CHANGES.get(event, ()):
            self._require(event, arguments[path], None if folder is None else arguments[folder])

    def _require(self, event: str, path: Any, folder: int | None) -> None:
        if isinstance(path, int) or path is None:
            return  # a descriptor that was opened before
        name = Path(os.fsdecode(path))
        if folder is not None and folder >= 0:
            name = Path(f"/proc/self/fd/{folder}").readlink() / name
        place = Path(os.path.abspath(name))  # noqa: PTH100  links are judged where they lead by their own events
        if place == Path(os.devnull) or (self.allowed is not None and place.is_relative_to(self.allowed)):
            return
        self.broken.append(f"{event} {place}")
        raise WroteElsewhere(self.broken[-1])


def allowed(error: PublishError, codes: Collection[int]) -> str:
    """Return the end of a program that ends with an error of its own, which is one of these and can be told."""
    assert error.exit_code in codes, f"exit {error.exit_code}: {error}"
    assert str(error).encode()
    return f"exit {error.exit_code}"


@contextmanager
def within(seconds: float) -> Iterator[None]:
    """End this process with the stacks of all threads where something takes longer, wherever it hangs."""
    faulthandler.dump_traceback_later(seconds, exit=True)
    try:
        yield
    finally:
        faulthandler.cancel_dump_traceback_later()

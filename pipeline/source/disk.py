"""Files read and written once and forwards, past the page cache.

A stream of gigabytes through the page cache costs more than the work on it: every page is allocated, copied and evicted
again, and on a virtual machine often taken from the host first. So whole pages go between the disk and a few buffers of
ours (``O_DIRECT``); what the cache holds already is taken from there, and where a file system knows no direct access
the cache is used.
"""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
from concurrent.futures import Executor, Future
from pathlib import Path
from typing import Any, Final, Protocol

from blake3 import blake3

from pipeline.errors import SourceError
from pipeline.files import BuiltFile, disk_errors

PAGE: Final = 4096  # bytes; direct access works in whole ones of these
BLOCK: Final = 8 << 20  # bytes that are read or written at a time
RUN: Final = 128 << 20  # bytes for which it is asked once whether the page cache has them
DIRECT: Final = getattr(os, "O_DIRECT", 0)
LIBC: Final = ctypes.CDLL(None)


class Opened(Protocol):
    """A weight file that is read forwards."""

    def read(self, offset: int, buffer: memoryview) -> int:
        """Fill the buffer from an offset, which never falls from call to call; fewer bytes at the file's end only."""

    def close(self) -> None:
        """Let go of it, read to its end or not."""


def pages(size: int) -> int:
    """Return a number of bytes rounded up to whole pages."""
    return -(-size // PAGE) * PAGE


def memory(size: int) -> memoryview:
    """Return zeroed memory that begins at a page, outside the heap."""
    return memoryview(mmap.mmap(-1, max(size, PAGE)))


class LocalFile:
    """A file on this machine's disk.

    Raises:
        SourceError: It cannot be opened.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            self._file = os.open(path, os.O_RDONLY)
        except OSError as error:
            raise SourceError(f"It cannot be read ({error.strerror}).", where=str(path)) from error
        self._direct = open_directly(path, os.O_RDONLY)
        self._files = [file for file in (self._file, self._direct) if file is not None]
        self._cached, self._asked = False, 0  # of the run that ends there

    def read(self, offset: int, buffer: memoryview) -> int:
        """Fill the buffer, which begins at a page as the offset does, with what lies there.

        Raises:
            SourceError: The disk cannot read it.
        """
        got = 0
        try:
            direct = None if self._is_cached(offset) else self._direct
            while got < len(buffer):
                whole = (offset + got) % PAGE == 0 and (len(buffer) - got) % PAGE == 0
                file = direct if direct is not None and whole else self._file
                try:
                    more = os.preadv(file, [buffer[got:]], offset + got)
                except OSError as error:
                    if file == self._file or error.errno != errno.EINVAL:
                        raise
                    direct = self._direct = None  # this file system takes other places, or none in spite of its word
                    continue
                if not more:
                    break
                got += more
        except OSError as error:
            raise SourceError(f"It cannot be read ({error.strerror}).", where=str(self._path)) from error
        return got

    def _is_cached(self, offset: int) -> bool:
        """Return whether the page cache holds the run that an offset lies in; asking costs as much as a small read."""
        if offset >= self._asked:
            self._cached, self._asked = cached(self._file, offset, RUN), offset + RUN
        return self._cached

    def close(self) -> None:
        """Close the file."""
        for file in self._files:
            os.close(file)


def cached(file: int, offset: int, length: int) -> bool:
    """Return whether the page cache holds a run of a file, judged by pages at its ends and in its middle.

    A read that must not wait (``RWF_NOWAIT``) would tell exactly, but makes the kernel fill the cache.
    """
    last = min(offset + length, os.fstat(file).st_size) - 1
    places = (offset, (offset + last) // 2, last)
    return last >= offset and all(resident(file, place // PAGE * PAGE) for place in places)


def resident(file: int, offset: int) -> bool:
    """Return whether the page cache holds the page at an offset."""
    with mmap.mmap(file, 1, access=mmap.ACCESS_COPY, offset=offset) as window:
        there, address = ctypes.c_ubyte(), ctypes.c_char.from_buffer(window)
        failed = LIBC.mincore(ctypes.byref(address), ctypes.c_size_t(1), ctypes.byref(there))
        del address
        return not failed and bool(there.value & 1)


def open_directly(path: Path, flags: int) -> int | None:
    """Open a file for direct access; None where its file system has none."""
    try:
        return os.open(path, flags | DIRECT) if DIRECT else None
    except OSError:
        return None


class Forward:
    """Takes the bytes of a file one run after another, each once.

    Args:
        file: The file.
        size: Its size in bytes, as its place says.
        where: How it is named in messages.
    """

    def __init__(self, file: Opened, size: int, where: str) -> None:
        self._file = file
        self._size = size
        self._where = where
        self._next = 0  # the page that is read next
        self._carried = b""  # what was read already beyond the bytes that were taken

    @staticmethod
    def room(length: int) -> int:
        """Return the bytes of a block in which ``length`` bytes can be taken."""
        return PAGE + pages(length)

    def take(self, length: int, block: memoryview) -> memoryview:
        """Return the next bytes, which lie in the block as they lie in the file's pages.

        Args:
            length: How many.
            block: Memory that begins at a page and has `room` for them.

        Raises:
            SourceError: The file ends before.
        """
        carried = len(self._carried)
        start = PAGE - carried
        block[start:PAGE] = self._carried
        wanted = pages(max(length - carried, 0))
        got = self._file.read(self._next, block[PAGE : PAGE + wanted]) if wanted else 0
        self._next += wanted
        if carried + got < length:
            raise SourceError(
                f"The file ended after {self._next - wanted + got} of its {self._size} bytes.",
                where=self._where,
                remedy="It changed while it was read, or is broken; run again, or download it again.",
            )
        self._carried = bytes(block[start + length : PAGE + got])
        return block[start : start + length]


def read_range(path: Path, offset: int, length: int, block: memoryview) -> memoryview:
    """Read a range of a file past the page cache; fewer bytes at its end.

    Args:
        path: The file.
        offset: Where the range begins.
        length: Its bytes.
        block: Memory that begins at a page and has `Forward.room` for them.

    Raises:
        SourceError: The disk cannot read it.
    """
    ahead = offset % PAGE
    file = LocalFile(path)
    try:
        got = file.read(offset - ahead, block[: pages(ahead + length)])
    finally:
        file.close()
    return block[ahead : min(got, ahead + length)]


def blake3_of(path: Path) -> str:
    """Return a file's BLAKE3 as 64 hex digits, read past the page cache."""
    digest = blake3()
    file = LocalFile(path)
    try:
        size = path.stat().st_size
        forward, block = Forward(file, size, str(path)), memory(Forward.room(BLOCK))
        for offset in range(0, size, BLOCK):
            digest.update(forward.take(min(BLOCK, size - offset), block))
    finally:
        file.close()
    return str(digest.hexdigest())


class Appender:
    """A new file that grows: hashed as its bytes pass, written block by block while the next one fills.

    What comes in no order is put into its place behind the end that it grows to, and hashed when all is there.

    Args:
        path: The file; one that is there is overwritten.
        writing: Runs one write at a time.
    """

    def __init__(self, path: Path, writing: Executor) -> None:
        self.path = path
        self.size = 0
        self._writing = writing
        self._digest = blake3()
        self._blocks = [memory(BLOCK), memory(BLOCK)]
        self._pending: list[Future[Any] | None] = [None, None]
        self._current = 0
        with disk_errors(path):
            self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o644)
        self._direct = open_directly(path, os.O_WRONLY)
        self._files = [file for file in (self._file, self._direct) if file is not None]

    def append(self, content: memoryview) -> None:
        """Add bytes at the end.

        Raises:
            CannotHereError: The disk is full.
        """
        while len(content):
            filled = self.size % BLOCK
            taken = content[: BLOCK - filled]
            self._blocks[self._current][filled : filled + len(taken)] = taken
            self.size += len(taken)
            content = content[len(taken) :]
            if self.size % BLOCK == 0:
                self._send(BLOCK)

    def _send(self, filled: int) -> None:
        """Hash the current block and have it written, then turn to the other one."""
        block, offset = self._blocks[self._current], self.size - filled
        self._digest.update(block[:filled])
        self._pending[self._current] = self._writing.submit(self._write, block[:filled], offset)
        self._current = 1 - self._current
        self._wait(self._current)

    def _wait(self, number: int) -> None:
        pending, self._pending[number] = self._pending[number], None
        if pending is not None:
            pending.result()

    def _write(self, block: memoryview, offset: int) -> None:
        with disk_errors(self.path):
            while len(block):
                whole = offset % PAGE == 0 and len(block) % PAGE == 0
                file = self._direct if self._direct is not None and whole else self._file
                try:
                    written = os.pwritev(file, [block], offset)
                except OSError as error:
                    if file == self._file or error.errno != errno.EINVAL:
                        raise
                    self._direct = None
                    continue
                block, offset = block[written:], offset + written

    def put(self, offset: int, content: memoryview) -> None:
        """Write bytes into a place behind all that is appended, by way of the page cache.

        Raises:
            CannotHereError: The disk is full.
        """
        with disk_errors(self.path):
            while len(content):
                written = os.pwrite(self._file, content, offset)
                content, offset = content[written:], offset + written

    def finish(self, size: int, head: bytes = b"") -> BuiltFile:
        """See everything on the disk.

        Args:
            size: The bytes that the file has; where none were written they are zeros.
            head: Bytes that replace the first ones, where they could not be known before the last.

        Returns:
            Size and digest of the file.

        Raises:
            CannotHereError: The disk is full.
        """
        if filled := self.size % BLOCK:
            self._send(filled)
        self._wait(0)
        self._wait(1)
        with disk_errors(self.path):
            os.ftruncate(self._file, size)
            if head:
                os.pwrite(self._file, head, 0)
            else:
                self._hash_behind(size)
            os.fsync(self._file)
        self.close()
        return BuiltFile(size=size, blake3=blake3_of(self.path) if head else self._digest.hexdigest())

    def _hash_behind(self, size: int) -> None:
        """Hash what was put behind the appended bytes."""
        block, offset = self._blocks[0], self.size
        while offset < size and (got := os.preadv(self._file, [block[: size - offset]], offset)):
            self._digest.update(block[:got])
            offset += got

    def close(self) -> None:
        """Close the file, finished or not."""
        for file in self._files:
            os.close(file)
        self._files.clear()

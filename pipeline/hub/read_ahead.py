"""A file of the Hub read forwards, with several ranges of it on their way ahead of the reader, and nothing stored.

Each range is fetched by a thread into a buffer that is used again when the reader has passed it, so memory holds
``in_flight`` ranges whatever the size of the file. A thread works for one range at a time and never waits for the
reader, so one that is lost without `ReadAhead.close` keeps neither the process nor a connection for longer.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import TYPE_CHECKING, Final

from pipeline.hub.errors import hub_errors
from pipeline.hub.ranges import RangeIgnoredError

if TYPE_CHECKING:
    from pipeline.hub.ranges import RemoteFile

RANGE: Final = 8 << 20  # bytes; at 25 MB/s a connection, the way to the Hub and back is a tenth of its time
IN_FLIGHT: Final = 4


class Part:
    """One range on its way; ``wanted`` is cleared where the reader has jumped over it."""

    def __init__(self, begin: int, end: int, buffer: bytearray) -> None:
        self.begin = begin
        self.end = end
        self.buffer = buffer
        self.wanted = True
        self.done: Future[None] = Future()

    def fetch(self, file: RemoteFile) -> None:
        """Fill the buffer."""
        at = 0
        with memoryview(self.buffer) as room:
            for piece in file.pieces(self.begin, self.end):
                if not self.wanted:
                    return
                room[at : at + len(piece)] = piece
                at += len(piece)


class ReadAhead:
    """An open file of the Hub; satisfies `pipeline.source.disk.Opened`.

    Args:
        file: The file, closed with this.
        size: Its size in bytes.
        begin: Where the reader will begin.
        range_bytes: Bytes of a range.
        in_flight: How many ranges are on their way or wait for the reader, at most.
    """

    def __init__(
        self, file: RemoteFile, size: int, begin: int = 0, *, range_bytes: int = RANGE, in_flight: int = IN_FLIGHT
    ) -> None:
        self._file = file
        self._size = size
        self._range_bytes = min(range_bytes, max(size - begin, 0))
        self._in_flight = in_flight
        self._at = begin  # what lies before was read or jumped over
        self._next = begin  # where the next range begins
        self._parts: deque[Part] = deque()
        self._passed: list[Part] = []  # jumped over while on their way
        self._spare: list[bytearray] = []
        self._sequential: Sequential | None = None
        self._threads = ThreadPoolExecutor(in_flight, thread_name_prefix="range")
        self._advance(begin)

    def read(self, offset: int, buffer: memoryview) -> int:
        """Fill the buffer from an offset, where the last call ended or later; fewer bytes at the file's end only.

        Raises:
            SourceError: The Hub refuses the file, or it is not the one that was listed.
            HubUnavailableError: The Hub sent nothing for too long.
            ValueError: The file was closed.
        """
        if self._file.closed:
            raise ValueError("The file is closed.")
        if offset < self._at:
            raise ValueError("A remote file is read forwards, each byte once.")
        filled, wanted = 0, min(len(buffer), max(self._size - offset, 0))
        try:
            with hub_errors(self._file.where, as_source=True):
                while filled < wanted:
                    filled += self._copy(offset + filled, buffer[filled:wanted])
        except BaseException as error:
            if self._file.closed and isinstance(error, Exception):  # by another thread; the rest is what came of it
                raise ValueError("The file is closed.") from None
            self.close()
            raise
        self._at = offset + filled
        return filled

    def close(self) -> None:
        """End what is on its way at once, and wait for its threads."""
        self._file.end()
        self._threads.shutdown(cancel_futures=True)
        self._file.close()

    def _copy(self, at: int, room: memoryview) -> int:
        """Copy the bytes that are here, waiting for the first of them."""
        if self._sequential is not None:
            return self._sequential.copy(at, room)
        self._advance(at)
        part = self._parts[0]
        try:
            part.done.result()
        except RangeIgnoredError:
            self._go_sequential(at)
            return 0
        count = min(len(room), part.end - at)
        with memoryview(part.buffer) as content:
            room[:count] = content[at - part.begin : at - part.begin + count]
        self._advance(at + count)
        return count

    def _advance(self, at: int) -> None:
        """Let go of what lies before an offset, and have ranges fetched from there as far as buffers go."""
        while self._parts and self._parts[0].end <= at:
            part = self._parts.popleft()
            part.wanted = False
            self._passed.append(part)
        self._next = max(self._next, at)
        self._top_up()
        while not self._parts and self._next < self._size:
            wait([part.done for part in self._passed], return_when=FIRST_COMPLETED)
            self._top_up()

    def _top_up(self) -> None:
        """Take back the buffers of what was passed, and start as many ranges as there is room for."""
        self._spare += [part.buffer for part in self._passed if part.done.done()]
        self._passed = [part for part in self._passed if not part.done.done()]
        while self._next < self._size and len(self._parts) + len(self._passed) < self._in_flight:
            buffer = self._spare.pop() if self._spare else bytearray(self._range_bytes)
            part = Part(self._next, min(self._next + self._range_bytes, self._size), buffer)
            part.done = self._threads.submit(part.fetch, self._file)
            self._parts.append(part)
            self._next = part.end

    def _go_sequential(self, at: int) -> None:
        """Give up ranges for one transfer of all that is left: this server sends nothing less."""
        for part in self._parts:
            part.wanted = False
        self._parts.clear()
        self._spare.clear()
        self._sequential = Sequential(self._file.pieces(at, self._size, whole=True), at)


class Sequential:
    """The bytes of one transfer, taken as they come.

    Args:
        pieces: The transfer.
        begin: Where it begins.
    """

    def __init__(self, pieces: Iterator[bytes], begin: int) -> None:
        self._pieces = pieces
        self._begin = begin
        self._piece = b""

    def copy(self, at: int, room: memoryview) -> int:
        """Copy the next bytes from an offset."""
        while self._begin + len(self._piece) <= at:
            self._begin += len(self._piece)
            self._piece = next(self._pieces)
        found = self._piece[at - self._begin :][: len(room)]
        room[: len(found)] = found
        return len(found)

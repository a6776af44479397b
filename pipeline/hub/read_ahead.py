"""A file of the Hub read forwards, with several ranges of it on their way ahead of the reader, and nothing stored.

Each range is fetched by a thread into a buffer that is let go when the reader has passed it, so memory holds
``in_flight`` ranges whatever the size of the file, and those that a jump passed until their next bytes come. A thread
works for one range at a time and never waits for the reader, so one that is lost without `ReadAhead.close` keeps
neither the process nor a connection for longer.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Final

from pipeline.hub.errors import hub_errors
from pipeline.hub.ranges import RangeIgnoredError

if TYPE_CHECKING:
    from pipeline.hub.ranges import RemoteFile

RANGE: Final = 8 << 20  # bytes; at 25 MB/s a connection, the way to the Hub and back is a tenth of its time
IN_FLIGHT: Final = 4


class Part:
    """Bytes of the file; ``wanted`` is cleared where the reader has jumped over what is on its way."""

    def __init__(self, begin: int, content: bytearray | bytes) -> None:
        self.begin = begin
        self.end = begin + len(content)
        self.content = content
        self.wanted = True

    def fetch(self, file: RemoteFile) -> None:
        """Fill a range."""
        at = 0
        with memoryview(self.content) as room:
            for piece in file.pieces(self.begin, self.end):
                if not self.wanted:
                    return
                room[at : at + len(piece)] = piece
                at += len(piece)


class ReadAhead:
    """An open file of the Hub; satisfies `pipeline.source.disk.Opened`.

    Args:
        file: The file, closed with this.
        begin: Where the reader will begin.
        range_bytes: Bytes of a range.
        in_flight: How many ranges are on their way or wait for the reader, at most.
    """

    def __init__(
        self, file: RemoteFile, begin: int = 0, *, range_bytes: int = RANGE, in_flight: int = IN_FLIGHT
    ) -> None:
        self._file = file
        self._range_bytes = range_bytes
        self._in_flight = in_flight
        self._at = begin  # what lies before was read or jumped over
        self._next = begin  # where the next part begins
        self._parts: deque[tuple[Part, Future[None]]] = deque()
        self._transfer: Iterator[bytes] | None = None  # of all that is left, from a server that sends nothing less
        self._threads = ThreadPoolExecutor(in_flight, thread_name_prefix="range")
        self._fetch(begin)

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
        filled, wanted = 0, min(len(buffer), max(self._file.size - offset, 0))
        try:
            with hub_errors(self._file.where, as_source=True):
                while filled < wanted:
                    filled += self._copy(offset + filled, buffer[filled:wanted])
        except BaseException as error:  # Ctrl-C, too, leaves a file of which part is read, and no thread may go on
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
        while self._parts and self._parts[0][0].end <= at:
            self._parts.popleft()[0].wanted = False
        if self._transfer is None:
            self._fetch(at)
        elif not self._parts:
            self._take(self._transfer)
            return 0
        part, done = self._parts[0]
        try:
            done.result()
        except RangeIgnoredError:
            for part, _ in self._parts:
                part.wanted = False
            self._parts.clear()
            self._next, self._transfer = at, self._file.pieces(at, self._file.size, whole=True)
            return 0
        count = min(len(room), part.end - at)
        with memoryview(part.content) as content:
            room[:count] = content[at - part.begin : at - part.begin + count]
        return count

    def _fetch(self, at: int) -> None:
        """Have as many ranges fetched from an offset on as may be on their way."""
        self._next = max(self._next, at)
        while self._next < self._file.size and len(self._parts) < self._in_flight:
            part = Part(self._next, bytearray(min(self._range_bytes, self._file.size - self._next)))
            self._parts.append((part, self._threads.submit(part.fetch, self._file)))
            self._next = part.end

    def _take(self, transfer: Iterator[bytes]) -> None:
        """Wait for the next bytes of the one transfer."""
        here: Future[None] = Future()
        here.set_result(None)
        self._parts.append((Part(self._next, next(transfer)), here))
        self._next = self._parts[-1][0].end

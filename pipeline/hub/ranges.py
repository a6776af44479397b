"""One file of the Hub, fetched by ranges: tried again, resumed where it broke, and never another file's bytes.

The Hub answers a request for a large file with an address on its storage that expires. The address is asked for once,
used for every range until the storage refuses it, and asked for again then. Digests are the reader's: what is checked
here is that every answer is the range that was asked, of the file that the first answer spoke of.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import TYPE_CHECKING, Any, Final

import httpx2
from huggingface_hub.utils import get_session, hf_raise_for_status

from pipeline.errors import SourceError
from pipeline.hub.errors import RETRIED
from pipeline.hub.open_connections import OpenConnections
from pipeline.hub.retry import PATIENT, BadAnswerError, Retry, RetryPolicy, asked_pause
from pipeline.hub.transport import require_safe

if TYPE_CHECKING:
    from httpx2 import URL, Client, Response

EXPIRED: Final = frozenset({400, 401, 403, 404, 410})  # what storages answer to an address that is too old
HOPS: Final = 10
UNCHANGING: Final = ("X-Repo-Commit", "X-Linked-Etag")  # said by the Hub, with a redirect or with the bytes
CONTENT_RANGE: Final = re.compile(r"bytes (?:(\d+)-(\d+)|\*)/(?:(\d+)|\*)")
ANEW: Final = "Run again: it is read anew. A commit never changes, so if it stays so, what lies between is broken."


class RangeIgnoredError(Exception):
    """The whole file was sent where a part of it was asked."""


class RemoteFile:
    """One file of the Hub at a commit; several threads may fetch ranges of it.

    Args:
        url: Its address on the Hub; the token is sent to this origin and to no other.
        where: How it is named in messages.
        headers: Returns what a request carries, with the token or without it.
        size: Its size in bytes as the Hub lists it.
        patience: How long is waited.
        client: A client of its own, closed with the file; None for the one that all of ``huggingface_hub`` shares.
    """

    def __init__(
        self,
        url: str,
        where: str,
        headers: Callable[[bool], dict[str, str]],
        size: int,
        *,
        patience: RetryPolicy = PATIENT,
        client: Client | None = None,
    ) -> None:
        self.where = where
        self.size = size
        self._url = httpx2.URL(url)
        self._headers = headers
        self._patience = patience
        self._client = client
        self._address: URL | None = None  # where the bytes are, once the Hub said so
        self._resolving = threading.Lock()
        self._said: dict[tuple[Any, str], str] = {}
        self._wires = OpenConnections()

    def pieces(self, begin: int, end: int, *, whole: bool = False) -> Iterator[bytes]:
        """Yield the bytes of a range in order, in pieces as they come; fewer where the file ends before.

        Args:
            begin: The first byte.
            end: The byte after the last.
            whole: Whether a server that ignores ranges may send the file from its beginning, which is then left out.

        Raises:
            RangeIgnoredError: It does, and may not.
            SourceError: The file is not the one that the Hub lists, or changed since it was first asked for.
            HubUnavailableError: No byte came for as long as is waited, or too few.
            HfHubHTTPError: The Hub refuses to show it.
            ValueError: The file was closed meanwhile.
        """
        tries = Retry(self._patience, self.where)
        end = min(end, self.size)
        while begin < end:
            try:
                for piece in self._answer(begin, end, whole=whole):
                    tries.progressed(len(piece))
                    yield piece
                    tries.resumed()
                    begin += len(piece)
            except (httpx2.TransportError, BadAnswerError) as error:
                if not self.closed:
                    self._wires.cut.wait(tries.pause(error))
            if self.closed:
                raise ValueError("The file was closed while it was read.")

    @property
    def closed(self) -> bool:
        """Whether its transfers were ended."""
        return self._wires.cut.is_set()

    def end(self) -> None:
        """End every transfer at once, also those that other threads wait for."""
        self._wires.shut()

    def close(self) -> None:
        """End every transfer and close its own client, which nobody may use any more."""
        self.end()
        if self._client is not None:
            self._client.close()

    def _answer(self, at: int, end: int, *, whole: bool) -> Iterator[bytes]:
        """Ask once for a range and yield what of it comes."""
        with closing(self._ask(at, end)) as answer:
            first, last = self._promised(answer, at, end)
            if answer.status_code == 200 and not whole and (at, end) != (0, self.size):
                raise RangeIgnoredError
            stop = min(end, last)
            for piece in answer.iter_raw():
                if wanted := piece[max(at - first, 0) : max(stop - first, 0)]:
                    yield wanted
                first += len(piece)
                if first > stop or first == stop != last:
                    return  # nobody wants the rest; leaving it unread ends this connection
        if first < stop:
            raise BadAnswerError("the answer ended before its last byte")

    def _promised(self, answer: Response, at: int, end: int) -> tuple[int, int]:
        """Return the range that an answer says it carries."""
        status, asked = answer.status_code, f"bytes {at}-{end - 1}"
        first, last, total = content_range(answer)
        length = number(answer.headers.get("Content-Length", ""))
        if status == 416:
            self._require_size(at if total is None else total)
            raise BadAnswerError(f"{asked} were refused, which the file has")
        encoding = answer.headers.get("Content-Encoding", "identity")
        if encoding != "identity":
            raise BadAnswerError(f"the bytes came encoded as {encoding}")
        if status == 200:
            self._require_size(length)
            return 0, self.size
        if status != 206:
            raise BadAnswerError(f"status {status}")
        self._require_size(total)
        if first != at or last is None or not at <= last < end or length not in {None, last + 1 - at}:
            raise BadAnswerError(f"{asked} were asked for, and other bytes came")
        return at, last + 1

    def _require_size(self, said: int | None) -> None:
        """Compare the size that an answer tells, if it does.

        Raises:
            SourceError: It is another one.
        """
        if said not in {None, self.size}:
            raise SourceError(f"It has {said} bytes, and the Hub lists {self.size}.", where=self.where, remedy=ANEW)

    def _ask(self, at: int, end: int) -> Response:
        """Return the open answer of the address that is known; while one thread asks the Hub for it, others wait."""
        if self._address is None:
            with self._resolving:
                if self._address is None:
                    answer, self._address = self._follow(self._url, at, end)
                    return answer
        return self._follow(self._address or self._url, at, end)[0]

    def _follow(self, url: URL, at: int, end: int) -> tuple[Response, URL]:
        """Return the open answer to which redirects lead, and its address.

        Raises:
            SourceError: They lead anywhere but over the web.
        """
        for _ in range(HOPS):
            answer = self._send(url, at, end)
            try:
                self._check(answer)
            except BaseException:  # whatever it was, Ctrl-C included, the connection goes back
                answer.close()
                raise
            if answer.next_request is None:
                return answer, url
            answer.close()
            require_safe(str(answer.next_request.url), str(self._url))
            url = answer.next_request.url
        raise BadAnswerError(f"it redirects more than {HOPS} times")

    def _send(self, url: URL, at: int, end: int) -> Response:
        """Send one request; the token goes with it to the Hub alone."""
        client = self._client or get_session()
        headers = self._headers(url.origin == self._url.origin)
        headers |= {"Range": f"bytes={at}-{end - 1}", "Accept-Encoding": "identity"}
        timeout = httpx2.Timeout(self._patience.silence, connect=self._patience.connect)
        request = client.build_request(
            "GET", url, headers=headers, timeout=timeout, extensions={"trace": self._wires.watch}
        )
        try:
            return client.send(request, stream=True, follow_redirects=False)
        except httpx2.TransportError:
            self._forget(url)
            raise

    def _forget(self, url: URL) -> None:
        """Have the Hub say anew where the bytes are, unless another thread has asked already."""
        if self._address == url:
            self._address = None

    def _check(self, answer: Response) -> None:
        """Tell apart an answer with bytes, one that may be better later, and a refusal."""
        status = answer.status_code
        if status in RETRIED:
            raise BadAnswerError(f"status {status}", asked_pause(answer.headers))
        if status in EXPIRED and answer.url.origin != self._url.origin:
            self._forget(answer.url)
            raise BadAnswerError(f"status {status} from the Hub's storage")
        if status >= 400 and status != 416:
            hf_raise_for_status(answer)
        self._require_same(answer)

    def _require_same(self, answer: Response) -> None:
        """Compare what an answer says of the file with what earlier ones from there said.

        Raises:
            SourceError: It speaks of another file.
        """
        for name in (*UNCHANGING, "ETag") if answer.status_code in {200, 206} else UNCHANGING:
            if said := answer.headers.get(name, "").removeprefix("W/"):
                before = self._said.setdefault((answer.url.origin, name), said)
                if said != before:
                    what = f"It changed while it was read: its {name} was {before} and is {said}."
                    raise SourceError(what, where=self.where, remedy=ANEW)


def content_range(answer: Response) -> tuple[int | None, int | None, int | None]:
    """Return first byte, last byte and size of the file as an answer says them; None for what it does not say."""
    match = CONTENT_RANGE.fullmatch(answer.headers.get("Content-Range", ""))
    first, last, total = match.groups("") if match else ("", "", "")
    return number(first), number(last), number(total)


def number(text: str) -> int | None:
    """Return a number of a header; None where it is none."""
    return int(text) if text.isdecimal() and text.isascii() else None

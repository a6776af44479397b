"""How requests reach the Hub: each with a time-out and a deadline, and tried again where that is safe.

The client repeats some of its calls, never waits less than a second between them, and lets others wait for ever. Here
every call to the Hub's API is repeated until its answer came whole, except those that do something anew each time: a
commit or a pull request whose answer was lost may have been made, so their caller has to look before asking again.
"""

from __future__ import annotations

import re
import ssl
import time
import zlib
from functools import cache
from typing import Any, Final

import httpx2

from pipeline.errors import SourceError
from pipeline.events import Event, Listener, silent
from pipeline.hub.patience import PATIENT, RETRIED, Patience, Tries, asked_pause

API: Final = re.compile(r"/api/|\.git/info/lfs/|/oauth/token$")
UNREPEATABLE: Final = re.compile(r"/(commit|discussions|super-squash)(/|$)")
NOTICED_SECONDS: Final = 2.0
ANSWER_BYTES: Final = 64 << 20  # far above any answer of the API; files come from elsewhere
GZIP: Final = 16 + zlib.MAX_WBITS
FRAMING: Final = frozenset({b"content-encoding", b"content-length", b"transfer-encoding"})
BUSY: Final = b"another conflicting operation is in progress"  # the client asks again at once and for ever

_origins: set[Any] = set()  # those that may see a token
_tokens: set[str] = set()  # what was sent to them as one


class BusyError(Exception):
    """An answer that asks to come back later."""


def trust(endpoint: str) -> None:
    """Let a Hub's origin see tokens."""
    _origins.add(httpx2.URL(endpoint).origin)


def require_safe(address: str, giver: str) -> None:
    """Refuse an address that a server hands out and that leads anywhere but over the web.

    Args:
        address: The address.
        giver: The endpoint that hands it out; one that speaks plain HTTP itself may name such addresses.

    Raises:
        SourceError: It has another scheme, such as one that names a folder of this machine.
    """
    url = httpx2.URL(address)
    allowed = {"https", httpx2.URL(giver).scheme} & {"http", "https"}
    if url.scheme not in allowed or not url.host:
        raise SourceError(
            f"The Hub hands out an address with the scheme {url.scheme!r} where it must be one of "
            f"{', '.join(sorted(allowed))}.",
            where=giver,
            remedy="Nothing was sent there. Do not use this server; a Hub never does so.",
        )


class PatientTransport(httpx2.BaseTransport):
    """Sends requests and reads answers of the Hub's API whole; those for files pass through.

    Args:
        patience: How long is waited.
        listen: Hears when it is waited.
    """

    def __init__(self, patience: Patience = PATIENT, listen: Listener = silent) -> None:
        self._patience = patience
        self._listen = listen
        self._wire = httpx2.HTTPTransport(verify=certificates())

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        """Return the answer to a request.

        Raises:
            TransportError: A call that must not be repeated broke.
            HubUnavailableError: No answer came for as long as is waited.
            SourceError: The token would go to where it does not belong.
        """
        guard(request)
        path = request.url.path
        if not API.search(path):
            answer = self._wire.handle_request(request)
            return self._whole(answer) if answer.status_code >= 400 else answer  # the bytes of a file are the asker's
        request.headers["Accept-Encoding"] = "gzip"
        if request.method == "POST" and UNREPEATABLE.search(path):
            return self._whole(self._wire.handle_request(request))
        tries = Tries(self._patience, f"{request.method} {path}", "no whole answer")
        while True:
            try:
                answer = self._whole(self._wire.handle_request(request))
            except httpx2.TransportError as error:
                self._wait(tries, error, 0.0)
                continue
            if not is_busy(answer):
                return answer
            self._wait(tries, BusyError(f"status {answer.status_code}"), asked_pause(answer.headers))

    def close(self) -> None:
        """Close all connections."""
        self._wire.close()

    def _wait(self, tries: Tries, error: Exception, asked: float) -> None:
        """Wait until the next try, and say so where somebody would notice."""
        pause = tries.pause(error, asked)
        if pause >= NOTICED_SECONDS:
            reason = str(error) or type(error).__name__
            self._listen(
                Event("note", "hub", text=f"The Hub gives no answer ({reason}); asking again in {pause:.0f} s")
            )
        time.sleep(pause)

    def _whole(self, answer: httpx2.Response) -> httpx2.Response:
        """Read an answer to its end, so that one that breaks can be asked for again."""
        deadline = time.monotonic() + self._patience.answer
        body = bytearray()
        try:
            for piece in answer.iter_raw():
                body += piece
                if time.monotonic() > deadline or len(body) > ANSWER_BYTES:
                    raise httpx2.ReadTimeout("the answer does not end")
        finally:
            answer.close()
        content = unpacked(bytes(body), encoding_of(answer))
        headers = [(name, said) for name, said in answer.headers.raw if name.lower() not in FRAMING]
        stream = httpx2.ByteStream(content)
        return httpx2.Response(answer.status_code, headers=headers, stream=stream, extensions=answer.extensions)


def encoding_of(answer: httpx2.Response) -> str:
    """Return how the bytes of an answer are packed."""
    return answer.headers.get("Content-Encoding", "").strip().lower() or "identity"


def unpacked(body: bytes, encoding: str) -> bytes:
    """Return an answer's content, of which never more is unpacked than an answer may have.

    Raises:
        RemoteProtocolError: It is packed otherwise than by gzip, is broken, or unpacks to more.
    """
    if encoding == "identity" or not body:
        return body
    if encoding != "gzip":
        raise httpx2.RemoteProtocolError(f"the answer is encoded as {encoding[:40]}")
    opened = zlib.decompressobj(wbits=GZIP)
    try:
        content = opened.decompress(body, ANSWER_BYTES)
    except zlib.error as error:
        raise httpx2.RemoteProtocolError(f"the answer cannot be unpacked ({error})") from error
    if not opened.eof:
        raise httpx2.RemoteProtocolError("the answer does not end")
    return content


def guard(request: httpx2.Request) -> None:
    """Keep a token that the Hub was sent from every other origin.

    Raises:
        SourceError: Some address that a server handed out would receive it.
    """
    token, origin = request.headers.get("Authorization"), request.url.origin
    if token is None:
        return
    if origin in _origins:
        _tokens.add(token)
    elif token in _tokens:
        raise SourceError(
            "The Hub hands out an address on another origin that would receive the token.",
            where=str(request.url.copy_with(query=None)),
            remedy="It was not sent. Do not use this server; a Hub never does so.",
        )


def is_busy(answer: httpx2.Response) -> bool:
    """Return whether an answer asks to come back later."""
    return answer.status_code in RETRIED or (answer.status_code == 409 and BUSY in answer.read())


@cache
def certificates() -> ssl.SSLContext:
    """Return whom to believe, for all clients: reading every authority's certificate takes 30 ms."""
    return httpx2.create_ssl_context()


def new_client(patience: Patience = PATIENT, listen: Listener = silent) -> httpx2.Client:
    """Return a client as ``huggingface_hub`` makes its own, except that it does not wait for ever."""
    from huggingface_hub.utils._http import hf_request_event_hook

    return httpx2.Client(
        event_hooks={"request": [hf_request_event_hook]},
        follow_redirects=True,
        timeout=httpx2.Timeout(patience.answer, connect=patience.connect),
        transport=PatientTransport(patience, listen),
    )

"""How requests reach the Hub: each with a time-out and a deadline, and tried again where that is safe.

The client repeats some of its calls, never waits less than a second between them, and lets others wait for ever. Here
every call to the Hub's API is repeated until its answer came whole, except those that do something anew each time: a
commit or a pull request whose answer was lost may have been made, so their caller has to look before asking again.

The real Hub answers a request for a small file with a redirect to ``/api/resolve-cache/``: that is a file's address, of
which a range of its plain bytes is asked, and no call of the API.
"""

from __future__ import annotations

import re
import ssl
import threading
import time
import zlib
from contextvars import ContextVar
from dataclasses import dataclass
from functools import cache
from typing import Any, Final

import httpx2

from pipeline.errors import CannotHereError, HubUnavailableError, SourceError
from pipeline.events import Event, Listener, silent
from pipeline.hub.errors import RETRIED
from pipeline.hub.retry import PATIENT, BadAnswerError, Retry, RetryPolicy, asked_pause

API: Final = re.compile(r"/api/(?!resolve-cache/)|\.git/info/lfs/|/oauth/token$")
UNREPEATABLE: Final = re.compile(r"/(commit|discussions|super-squash)(/|$)")
NOTICED_SECONDS: Final = 2.0
UNREACHED_SECONDS: Final = 8.0  # for a host that never answered; one that did is waited for as patience says
GZIP: Final = 16 + zlib.MAX_WBITS
ANSWER_BYTES: Final = 64 << 20  # far above any answer of the API; files come from elsewhere
REFUSAL_BYTES: Final = 1 << 20
REFUSAL_SECONDS: Final = 2.0
FRAMING: Final = frozenset({b"content-encoding", b"content-length", b"transfer-encoding"})
BUSY: Final = b"another conflicting operation is in progress"  # the client asks again at once and for ever

_sharing = threading.Lock()
_shared = False
_origins: set[Any] = set()  # those that may see a token
_tokens: set[str] = set()  # what was sent to them as one


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


@dataclass(frozen=True)
class Manner:
    """How somebody asks.

    Attributes:
        patience: How long is waited.
        listen: Hears when it is waited.
    """

    patience: RetryPolicy = PATIENT
    listen: Listener = silent


manner: ContextVar[Manner] = ContextVar("manner", default=Manner())  # noqa: B039  frozen; all that ask share one session


class PatientTransport(httpx2.BaseTransport):
    """Sends requests and reads answers of the Hub's API whole; those for files pass through.

    Args:
        way: Sends a request once: by the proxy that the environment names, if it names one for this address.
    """

    def __init__(self, way: httpx2.Client) -> None:
        self._way = way
        self._reached: set[str] = set()  # hosts that answered

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        """Return the answer to a request.

        Raises:
            TransportError: A call that must not be repeated broke.
            HubUnavailableError: No answer came for as long as is waited.
            SourceError: The token would go to where it does not belong.
        """
        guard(request)
        path, asked = request.url.path, manner.get()
        if not API.search(path):
            answer = self._send(request)
            return refusal(answer) if answer.status_code >= 400 else answer  # the bytes of a file are the asker's
        request.headers["Accept-Encoding"] = "gzip"
        request.extensions["timeout"] = httpx2.Timeout(asked.patience.answer, connect=asked.patience.connect).as_dict()
        if request.method == "POST" and UNREPEATABLE.search(path):
            return whole(self._send(request), asked.patience.answer)
        tries, began = Retry(asked.patience, f"{request.method} {path}", "no whole answer"), time.monotonic()
        while True:
            try:
                return unless_busy(whole(self._send(request), asked.patience.answer))
            except (httpx2.TransportError, BadAnswerError) as error:
                unknown = isinstance(error, httpx2.ConnectError) and request.url.host not in self._reached
                if unknown and time.monotonic() - began > UNREACHED_SECONDS:
                    raise unreachable(request.url, error) from error
                try:
                    wait(tries, error, asked.listen)
                except HubUnavailableError:
                    if unknown:
                        raise unreachable(request.url, error) from error
                    raise

    def close(self) -> None:
        """Close all connections."""
        self._way.close()

    def _send(self, request: httpx2.Request) -> httpx2.Response:
        answer = self._way.send(request, stream=True)
        self._reached.add(request.url.host)
        return answer


def unreachable(url: httpx2.URL, error: Exception) -> HubUnavailableError:
    """Return the error for a host that never answered: the network is not there, or the address is wrong."""
    return HubUnavailableError(
        f"{url.host} cannot be reached ({error}).",
        where=f"{url.scheme}://{url.netloc.decode()}",
        remedy="Check the network, HTTPS_PROXY and HF_ENDPOINT with `publish doctor`, then run again; `--hub local` is "
        "the Hub that is embedded here, and `publish plan` of a source in a folder needs none.",
    )


def wait(tries: Retry, error: Exception, listen: Listener) -> None:
    """Wait until the next try, and say so where somebody would notice."""
    pause = tries.pause(error)
    if pause >= NOTICED_SECONDS:
        reason = str(error) or type(error).__name__
        listen(Event("note", "hub", text=f"The Hub gives no answer ({reason}); asking again in {pause:.0f} s"))
    time.sleep(pause)


def refusal(answer: httpx2.Response) -> httpx2.Response:
    """Return an answer that brings no file with what it says of it, or with nothing where that does not end soon."""
    timeout = {**answer.request.extensions.get("timeout", {}), "read": REFUSAL_SECONDS}
    answer.request.extensions["timeout"] = timeout  # looked at when reading begins
    try:
        return whole(answer, REFUSAL_SECONDS, REFUSAL_BYTES)
    except httpx2.TransportError:
        return remade(answer, b"")


def whole(answer: httpx2.Response, seconds: float, most: int = ANSWER_BYTES) -> httpx2.Response:
    """Read an answer to its end, so that one that breaks can be asked for again.

    Raises:
        TransportError: It breaks, or does not end in time.
    """
    deadline = time.monotonic() + seconds
    body = bytearray()
    try:
        for piece in answer.iter_raw():
            body += piece
            if time.monotonic() > deadline or len(body) > most:
                raise httpx2.ReadTimeout("the answer does not end")
    finally:
        answer.close()
    return remade(answer, unpacked(bytes(body), answer.headers.get("Content-Encoding", "").strip().lower()))


def unpacked(body: bytes, encoding: str) -> bytes:
    """Return an answer's content, of which never more is unpacked than an answer may have.

    By hand, since the client takes what is cut short between two blocks for the whole.

    Raises:
        RemoteProtocolError: It is packed otherwise than by gzip, is broken, or unpacks to more.
    """
    if encoding in {"", "identity"} or not body:
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


def remade(answer: httpx2.Response, content: bytes) -> httpx2.Response:
    """Return an answer with its content at hand."""
    headers = [(name, said) for name, said in answer.headers.raw if name.lower() not in FRAMING]
    stream = httpx2.ByteStream(content)
    return httpx2.Response(answer.status_code, headers=headers, stream=stream, extensions=answer.extensions)


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


def unless_busy(answer: httpx2.Response) -> httpx2.Response:
    """Return an answer.

    Raises:
        BadAnswerError: It asks to come back later.
    """
    if answer.status_code in RETRIED or (answer.status_code == 409 and BUSY in answer.read()):
        raise BadAnswerError(f"status {answer.status_code}", asked_pause(answer.headers))
    return answer


@cache
def certificates() -> ssl.SSLContext:
    """Return whom to believe, for all clients: reading every authority's certificate takes 30 ms."""
    return httpx2.create_ssl_context()


def new_client() -> httpx2.Client:
    """Return a client as ``huggingface_hub`` makes its own, except that it does not wait for ever.

    Raises:
        CannotHereError: The environment names a proxy that nothing here can talk to.
    """
    from huggingface_hub.utils._http import hf_request_event_hook  # the one thing that is not public

    timeout = httpx2.Timeout(PATIENT.answer, connect=PATIENT.connect)
    return httpx2.Client(
        event_hooks={"request": [hf_request_event_hook]},
        follow_redirects=True,
        timeout=timeout,
        transport=PatientTransport(way(timeout)),
    )


def way(timeout: httpx2.Timeout) -> httpx2.Client:
    """Return a client that sends each request once, by ``HTTP_PROXY``, ``HTTPS_PROXY``, ``ALL_PROXY``, ``NO_PROXY``.

    A client that is given a transport looks at none of these, and one without does not try again; so one sends for the
    other.
    """
    try:
        return httpx2.Client(verify=certificates(), timeout=timeout)
    except (ImportError, ValueError, httpx2.InvalidURL) as error:
        remedy = "Correct HTTP_PROXY, HTTPS_PROXY or ALL_PROXY; socks5:// takes pip install socksio."
        raise CannotHereError(f"The proxy of this environment cannot be used: {error}", remedy=remedy) from error


def share() -> None:
    """Have the whole process ask by one such client; done again, it changes nothing and closes nobody's session."""
    global _shared  # noqa: PLW0603  as what it sets belongs to the process
    from huggingface_hub import set_client_factory

    with _sharing:
        if not _shared:
            set_client_factory(new_client)
            _shared = True

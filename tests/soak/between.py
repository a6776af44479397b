"""A server between a client and the embedded Hub, which hands on what both say and spoils the answers it is told to.

It stands before both origins of the Hub and puts its own addresses where an answer has theirs, so that nothing reaches
the Hub past it. A third origin belongs to nobody: it only notes who comes, and with what.
"""

from __future__ import annotations

import http.client
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

TEXTUAL = ("json", "text", "ndjson")
OURS = {"host", "connection", "transfer-encoding"}  # headers of one connection


@dataclass
class Answer:
    """What the Hub said, before it is written; ``raw`` is written instead where it is set.

    Attributes:
        status: The status as it is spelled in the first line.
        cut: Whether the connection ends after it.
    """

    status: str
    headers: list[tuple[str, str]]
    body: bytes
    raw: bytes = b""
    cut: bool = False

    def set(self, name: str, value: str) -> None:
        """Have a header say something else."""
        self.headers = [(key, said) for key, said in self.headers if key.lower() != name.lower()] + [(name, value)]

    def get(self, name: str) -> str:
        """Return what a header says."""
        return next((said for key, said in self.headers if key.lower() == name.lower()), "")

    def written(self, head: bool) -> bytes:
        """Return the bytes of the answer."""
        if self.raw:
            return self.raw
        lines = [f"HTTP/1.1 {self.status}", *(f"{name}: {said}" for name, said in self.headers), "", ""]
        return "\r\n".join(lines).encode("utf-8", "surrogateescape") + (b"" if head else self.body)


Spoil = Callable[[str, str, Answer], None]
"""Hears method, path and answer, and changes the answer as it likes."""


@dataclass
class Between:
    """The server.

    Attributes:
        endpoint: The address that stands for the Hub's.
        elsewhere: The address of the origin that is nobody's.
        strangers: What was sent there as ``Authorization``.
        spoil: Changes answers; may be set anew at any time.
    """

    endpoint: str = ""
    elsewhere: str = ""
    strangers: list[str] = field(default_factory=list)
    spoil: Spoil = lambda *_: None


@contextmanager
def between(endpoint: str, storage: str) -> Iterator[Between]:
    """Stand before a Hub with these addresses, without ``http://``, for as long as the context lasts."""
    here = Between()
    known: dict[str, str] = {}
    with ExitStack() as stack:
        for origin in (endpoint, storage):
            known[origin] = stack.enter_context(serving(forwarder(here, origin, known)))
        here.endpoint = f"http://{known[endpoint]}"
        here.elsewhere = f"http://{stack.enter_context(serving(stranger(here)))}"
        yield here


@contextmanager
def serving(handler: type[BaseHTTPRequestHandler]) -> Iterator[str]:
    """Serve from threads of this process; yield the address."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    server.block_on_close = False
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    try:
        yield f"127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


class Handler(BaseHTTPRequestHandler):
    """Gives every method to one function."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def answer(self) -> None:
        """Answer a request of any method."""
        raise NotImplementedError

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = do_PATCH = lambda self: self.answer()  # noqa: N815

    def log_message(self, *_: Any) -> None:
        """Say nothing."""

    def handle(self) -> None:
        """Serve a connection until it breaks."""
        with suppress(OSError):
            super().handle()

    def content(self) -> bytes:
        """Return the request's body."""
        if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        body = b""
        while size := int(self.rfile.readline().split(b";")[0], 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return body


def forwarder(here: Between, origin: str, known: Mapping[str, str]) -> type[Handler]:
    """Return what stands before one origin."""

    class Forwarder(Handler):
        def answer(self) -> None:
            said = self.asked(self.content())
            here.spoil(self.command, self.path, said)
            self.wfile.write(said.written(self.command == "HEAD"))
            if said.cut or said.raw:
                self.close_connection = True

        def asked(self, body: bytes) -> Answer:
            upstream = http.client.HTTPConnection(origin)
            headers = {name: said for name, said in self.headers.items() if name.lower() not in OURS}
            upstream.request(self.command, self.path, body or None, {**headers, "Host": origin, "Connection": "close"})
            found = upstream.getresponse()
            content, kept = found.read(), found.getheaders()
            upstream.close()
            kept = [(name, ours(said, known)) for name, said in kept if name.lower() not in OURS]
            answer = Answer(f"{found.status} {found.reason}", kept, content)
            if any(kind in answer.get("Content-Type") for kind in TEXTUAL) and "Content-Range" not in dict(kept):
                answer.body = ours(content.decode("latin-1"), known).encode("latin-1")
            if self.command != "HEAD" and found.status not in {204, 304}:
                answer.set("Content-Length", str(len(answer.body)))
            return answer

    return Forwarder


def ours(text: str, known: Mapping[str, str]) -> str:
    """Put our addresses where a text has the Hub's."""
    for theirs, own in known.items():
        text = text.replace(theirs, own)
    return text


def stranger(here: Between) -> type[Handler]:
    """Return what stands before the origin that is nobody's."""

    class Stranger(Handler):
        def answer(self) -> None:
            self.content()
            here.strangers.append(self.headers.get("Authorization", ""))
            self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}")

    return Stranger

"""A Hub of one file that fails as it is told: two origins on loopback, and a fault for the n-th request of each."""

from __future__ import annotations

import gzip
import hashlib
import re
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

NAME = "model.safetensors"
CACHE = "/api/resolve-cache/models"


@dataclass(frozen=True)
class Seen:
    """A request as it arrived."""

    origin: str
    path: str
    span: tuple[int, int] | None
    token: str | None


@dataclass
class Faulty:
    """The state of both origins.

    Attributes:
        content: The file.
        stored: Whether the Hub redirects to its storage, as it does for large files.
        faults: What happens instead of an honest answer, by origin and number of the request there.
        always: What happens to every request of an origin that has no fault of its own.
        seen: The requests, in the order of their arrival.
        sent: Bytes of bodies that were sent, or are being sent.
    """

    content: bytes
    stored: bool = False
    faults: dict[tuple[str, int], Fault] = field(default_factory=dict)
    always: dict[str, Fault] = field(default_factory=dict)
    seen: list[Seen] = field(default_factory=list)
    sent: int = 0
    hub: str = ""
    storage: str = ""
    over: threading.Event = field(default_factory=threading.Event)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def requests(self, origin: str) -> list[Seen]:
        return [seen for seen in self.seen if seen.origin == origin]

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.content).hexdigest()


class Talk(BaseHTTPRequestHandler):
    """One connection to one origin."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    faulty: Faulty
    origin: str
    span: Any  # first byte and the one after the last

    def do_GET(self) -> None:
        match = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
        self.span = (int(match[1]), min(int(match[2]) + 1, len(self.faulty.content))) if match else None
        with self.faulty.lock:
            number = len(self.faulty.requests(self.origin))
            self.faulty.seen.append(Seen(self.origin, self.path, self.span, self.headers.get("Authorization")))
        fault = self.faulty.faults.get((self.origin, number), self.faulty.always.get(self.origin))
        with suppress(ConnectionError):
            fault(self) if fault else self.honest()

    def honest(self) -> None:
        if self.origin == "hub" and self.faulty.stored:
            self.redirect(f"{self.faulty.storage}/object/{len(self.faulty.seen)}")
        else:
            self.partial()

    def redirect(self, target: str) -> None:
        self.head(302, {"Location": target, "X-Repo-Commit": "c" * 40, "X-Linked-Etag": '"e"', "Content-Length": "0"})

    def head(self, status: int, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()

    def partial(self, body: bytes | None = None, **changes: str) -> None:
        """Send the range that was asked for, or another body, or other headers."""
        begin, end = self.span
        body = self.faulty.content[begin:end] if body is None else body
        usual = {
            "Content-Length": str(end - begin),
            "Content-Range": f"bytes {begin}-{end - 1}/{len(self.faulty.content)}",
            "ETag": '"e"',
            "X-Repo-Commit": "c" * 40,
        }
        self.head(206, usual | {name.replace("_", "-"): value for name, value in changes.items()})
        self.body(body)

    def whole(self, **headers: str) -> None:
        """Send the whole file, whatever was asked."""
        self.head(200, {"Content-Length": str(len(self.faulty.content)), **headers})
        self.body(self.faulty.content)

    def body(self, content: bytes) -> None:
        with self.faulty.lock:
            self.faulty.sent += len(content)  # before the client has them: it may ask how many while this thread waits
        self.wfile.write(content)
        self.wfile.flush()

    def reset(self) -> None:
        """Break the connection once what was sent has arrived."""
        time.sleep(0.02)
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.end()

    def end(self) -> None:
        self.close_connection = True
        self.connection.close()

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


Fault = Callable[[Talk], None]


def status(code: int, **headers: str) -> Fault:
    headers = {"Content-Length": "0", **{name.replace("_", "-"): value for name, value in headers.items()}}
    return lambda talk: talk.head(code, headers)


def cut(after: int, *, reset: bool = True) -> Fault:
    """Promise the range and break the connection, or end it, after some bytes."""

    def fault(talk: Talk) -> None:
        begin, end = talk.span
        talk.partial(talk.faulty.content[begin : min(begin + after, end)])
        talk.reset() if reset else talk.end()

    return fault


def cached(talk: Talk) -> None:
    """Do as the real Hub does with a small file: redirect to a path of its API, which packs what may come packed."""
    if not talk.path.startswith(CACHE):
        talk.head(307, {"Location": f"{CACHE}{talk.path}", "X-Repo-Commit": "c" * 40, "Content-Length": "0"})
    elif "gzip" in talk.headers.get("Accept-Encoding", ""):
        packed = gzip.compress(talk.faulty.content)
        begin, end = talk.span
        said = f"bytes {begin}-{min(end, len(packed)) - 1}/{len(packed)}"
        part = packed[begin:end]
        talk.head(206, {"Content-Encoding": "gzip", "Content-Range": said, "Content-Length": str(len(part))})
        talk.body(part)
    else:
        talk.partial()


def refusing(code: int) -> Fault:
    """Refuse, and begin a reason that never ends."""

    def fault(talk: Talk) -> None:
        talk.head(code, {"Content-Length": "1000"})
        talk.body(b"b")
        talk.faulty.over.wait(60)
        talk.end()

    return fault


def chunked(change: Callable[[bytes], bytes]) -> Fault:
    """Send another body than the range, in a way that does not tell its length."""

    def fault(talk: Talk) -> None:
        begin, end = talk.span
        said = f"bytes {begin}-{end - 1}/{len(talk.faulty.content)}"
        talk.head(206, {"Transfer-Encoding": "chunked", "Content-Range": said})
        body = change(talk.faulty.content[begin:end])
        talk.wfile.write(b"%x\r\n" % len(body))
        talk.body(body)
        talk.wfile.write(b"\r\n0\r\n\r\n")

    return fault


def hang(after: int | None = None) -> Fault:
    """Send nothing, or some bytes and then nothing, until the test is over."""

    def fault(talk: Talk) -> None:
        if after is not None:
            talk.partial(talk.faulty.content[talk.span[0] : talk.span[0] + after])
        talk.faulty.over.wait(30)
        talk.end()

    return fault


class Server(ThreadingHTTPServer):
    """An origin whose threads are waited for when it ends."""

    daemon_threads = False
    request_queue_size = 64

    def handle_error(self, *_: Any) -> None:
        """Say nothing of clients that hang up."""


@contextmanager
def faulty_hub(content: bytes) -> Iterator[Faulty]:
    faulty = Faulty(content)
    origins = {}
    for origin in ("hub", "storage"):
        talk = type("Talk", (Talk,), {"faulty": faulty, "origin": origin, "timeout": 10})
        origins[origin] = Server(("127.0.0.1", 0), talk)
    faulty.hub, faulty.storage = (f"http://127.0.0.1:{server.server_port}" for server in origins.values())
    threads = [threading.Thread(target=server.serve_forever, args=(0.02,)) for server in origins.values()]
    for thread in threads:
        thread.start()
    try:
        yield faulty
    finally:
        faulty.over.set()
        for server, thread in zip(origins.values(), threads, strict=True):
            server.shutdown()
            thread.join()
            server.server_close()

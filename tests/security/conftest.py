"""Hubs that mean no good: an embedded one whose answers a test replaces, and a place that writes down who comes."""

from __future__ import annotations

import json
import math
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import CommitOperationAdd, CommitOperationDelete

from localhub.faults import Faults, Rule
from localhub.server import running
from pipeline.hub.client import Hub
from pipeline.hub.retry import RetryPolicy
from tests.desk import REPO, Shelf

TOKEN = "hf_PLANTEDneverToBeSeenAnywhere0123456"
PLANTED = {TOKEN: {"name": "alice", "role": "write", "orgs": ["acme"]}}
HASTY = RetryPolicy(progress=2.0, pause=0.1)


def answer(method: str, path: str, body: Any = "", status: int = 200, **headers: str) -> Rule:
    """Return a rule by which the Hub always answers with this."""
    text = body if isinstance(body, str) else json.dumps(body)
    named = tuple((name.replace("_", "-"), value) for name, value in headers.items())
    return Rule(method, path, "status", status, math.inf, headers=named, body=text)


@dataclass
class Hostile:
    """A Hub with a small source, what it does wrong, and a client of it."""

    endpoint: str
    root: Path
    faults: Faults
    commit: str

    @property
    def hub(self) -> Hub:
        return Hub(self.endpoint, token=TOKEN, patience=HASTY)

    def commit_files(self, files: dict[str, bytes | None]) -> str:
        """Commit files to the source, None for those to delete, and return the commit."""
        operations = [
            CommitOperationDelete(name) if content is None else CommitOperationAdd(name, content)
            for name, content in files.items()
        ]
        return str(self.hub.api.create_commit(REPO, operations, commit_message="Change files").oid)


@pytest.fixture
def hostile(stocked: Shelf, tmp_path: Path) -> Iterator[Hostile]:
    """A copy of the Hub on which a test may do what it likes."""
    shutil.copytree(stocked.root, tmp_path / "hub", symlinks=True)
    faults = Faults()
    with running(tmp_path / "hub", tokens=PLANTED, faults=faults) as endpoint:
        yield Hostile(endpoint, tmp_path / "hub", faults, stocked.commit)


@dataclass
class Recorder:
    """A server of somebody else's that says yes to everything."""

    endpoint: str
    requests: list[tuple[str, dict[str, str]]] = field(default_factory=list)

    @property
    def tokens(self) -> list[str]:
        """What came with a token of any kind."""
        return [path for path, headers in self.requests if TOKEN in json.dumps(headers)]


@pytest.fixture
def recorder() -> Iterator[Recorder]:
    """Another origin."""
    with recording() as found:
        yield found


@contextmanager
def recording() -> Iterator[Recorder]:
    """Run a server that writes down what comes.

    It has an address that no Hub has: a port would not do, since one that a Hub had before, in an earlier test of this
    process, may be given out again and is an origin that sees tokens.
    """
    recorder = Recorder("")

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            recorder.requests.append((f"{self.command} {self.path}", dict(self.headers)))
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            body = b"" if self.command == "HEAD" else b"{}"
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.send_header("ETag", '"x"')
            self.send_header("X-Repo-Commit", "0" * 40)
            self.end_headers()
            self.wfile.write(body)

        do_HEAD = do_PUT = do_POST = do_GET  # noqa: N815  the names that the library looks for

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.2", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    recorder.endpoint = f"http://127.0.0.2:{server.server_port}"
    try:
        yield recorder
    finally:
        server.shutdown()
        thread.join()
        server.server_close()

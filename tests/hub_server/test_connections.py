"""Clients that stall hold up neither the others nor the server when it stops."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import httpx2
import pytest
from huggingface_hub import CommitOperationAdd, HfApi

from localhub.server import running

SIZE = 48 << 20


@contextmanager
def stocked(root: Path) -> Iterator[tuple[str, str]]:
    """Run a Hub that has a large file; with the file's address in storage."""
    with running(root) as endpoint:
        api = HfApi(endpoint=endpoint, token=False)
        api.create_repo("alice/model")
        api.create_commit("alice/model", [CommitOperationAdd("m.bin", bytes(SIZE))], commit_message="Upload")
        yield endpoint, httpx2.get(f"{endpoint}/alice/model/resolve/main/m.bin").headers["location"]


def begun(address: str, method: str = "GET", length: int = 0) -> socket.socket:
    """Send the beginning of a request and read nothing."""
    url = urlsplit(address)
    client = socket.create_connection((url.hostname or "", url.port or 0))
    client.sendall(f"{method} {url.path} HTTP/1.1\r\nHost: {url.netloc}\r\nContent-Length: {length}\r\n\r\n".encode())
    return client


def test_clients_that_neither_read_nor_write_on_hold_up_nobody_and_are_left_behind_at_the_end(
    root: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with ExitStack() as stalled:
        with stocked(root) as (endpoint, large):
            for _ in range(50):
                stalled.enter_context(begun(large))
                stalled.enter_context(begun(f"{endpoint}/api/repos/create", "POST", 1000))
                stalled.enter_context(begun(f"{endpoint}/api/models/alice/model/commit/main", "POST", 1000))
            time.sleep(0.3)
            started = time.monotonic()
            assert HfApi(endpoint=endpoint, token=False).model_info("alice/model").id == "alice/model"
            assert time.monotonic() - started < 1
            started = time.monotonic()
        assert time.monotonic() - started < 4
    assert not [record for record in caplog.records if record.name.startswith("uvicorn")], caplog.text

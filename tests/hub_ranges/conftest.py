"""A file on a Hub that fails on demand, and readers whose patience is short."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from typing import Any

import pytest
from huggingface_hub import close_session

from pipeline.files import ListedFile
from pipeline.hub.client import Hub
from pipeline.hub.read_ahead import ReadAhead
from pipeline.hub.retry import RetryPolicy
from pipeline.hub.source import Repository
from tests.hub_ranges.server import NAME, Faulty, faulty_hub

COMMIT = "c" * 40
HASTY = RetryPolicy(connect=1.0, silence=5.0, progress=20.0, pause=0.01, longest_pause=0.05)
NERVOUS = replace(HASTY, silence=0.15)  # only where silence is tested: a busy machine is silent for so long too
GIVING_UP = replace(NERVOUS, progress=0.4)
RANGE = 20_000
Opener = Callable[..., ReadAhead]


@pytest.fixture(autouse=True)
def no_thread_left() -> Iterator[None]:
    """No thread that fetches ranges outlives the file that it fetches them of."""
    yield
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("range")]


@pytest.fixture
def faulty() -> Iterator[Faulty]:
    with faulty_hub(hashlib.shake_256(b"weights").digest(201_000)) as running:
        yield running


@pytest.fixture
def repository(faulty: Faulty) -> Iterator[Repository]:
    listed = ListedFile(size=len(faulty.content), sha256=faulty.sha256)
    yield Repository(Hub(faulty.hub, token="secret"), "acme/tiny", COMMIT, {NAME: listed})
    close_session()  # the server waits for its connections to end


@pytest.fixture
def opened(repository: Repository) -> Iterator[Opener]:
    """Open the file; it is closed when the test is over."""
    files = []

    def opener(begin: int = 0, patience: RetryPolicy = HASTY, **options: Any) -> ReadAhead:
        repository.hub.patience = patience
        files.append(repository.open(NAME, begin, **{"range_bytes": RANGE, **options}))
        return files[-1]

    yield opener
    for file in files:
        file.close()


def read_all(file: ReadAhead, begin: int = 0, at_once: int = 33_333) -> bytes:
    """Read to the end by a number of bytes that fits no range."""
    content = bytearray()
    with closing(file):
        while True:
            buffer = bytearray(at_once)
            count = file.read(begin + len(content), memoryview(buffer))
            content += buffer[:count]
            if count < at_once:
                return bytes(content)

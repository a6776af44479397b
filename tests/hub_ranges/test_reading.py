"""A file of the embedded Hub, read forwards: every byte once, nothing that was jumped over, and a clean end."""

from __future__ import annotations

import hashlib
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace

import pytest
from huggingface_hub import CommitOperationAdd

from localhub.server import running
from pipeline.errors import SourceError
from pipeline.hub.client import Hub
from pipeline.hub.source import Repository
from tests.hub_ranges.conftest import HASTY, RANGE, Opener, read_all
from tests.hub_ranges.server import Faulty, Talk, hang

TOKENS = {"alice": {"name": "alice", "role": "write"}, "carol": {"name": "carol", "role": "write"}}
FILES = {
    "model.safetensors": hashlib.shake_256(b"large").digest(300_007),  # large files lie on the storage's origin
    "config.json": hashlib.shake_256(b"small").digest(70_000),  # small ones with the Hub
    "one.safetensors": b"1",
    "empty.txt": b"",
}


@pytest.fixture(scope="module")
def endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with running(tmp_path_factory.mktemp("hub"), tokens=TOKENS) as address:
        yield address


@pytest.fixture(scope="module")
def source(endpoint: str) -> Repository:
    api = Hub(endpoint, token="alice").api
    api.create_repo("alice/tiny", private=True)
    operations = [CommitOperationAdd(name, content) for name, content in FILES.items()]
    commit = str(api.create_commit("alice/tiny", operations, commit_message="Add files").oid)
    return Hub(endpoint, token="alice").source("alice/tiny", commit)


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("in_flight", [1, 4])
@pytest.mark.parametrize("at_once", [999, RANGE, 250_000])
def test_every_byte_arrives_in_order(source: Repository, name: str, in_flight: int, at_once: int) -> None:
    file = source.open(name, range_bytes=RANGE, in_flight=in_flight)
    assert read_all(file, at_once=at_once) == FILES[name]


def test_a_file_is_read_from_the_middle_by_default_ranges(source: Repository) -> None:
    assert read_all(source.open("model.safetensors", 123_456), 123_456) == FILES["model.safetensors"][123_456:]


def test_small_reads_end_where_the_file_ends(source: Repository) -> None:
    assert source.read("model.safetensors", 300_000, 100) == FILES["model.safetensors"][300_000:]
    assert source.read("model.safetensors", 400_000, 100) == b""
    assert source.read("empty.txt", 0, 100) == b""
    assert source.read("config.json", 0, 70_000) == FILES["config.json"]


def test_who_may_not_read_the_source_is_told(source: Repository, endpoint: str) -> None:
    stranger = Repository(Hub(endpoint, token="carol"), source.repo, source.revision, source.files)
    with pytest.raises(SourceError, match="no such repository, or it is private"):
        read_all(stranger.open("model.safetensors"))


def test_a_file_that_the_commit_does_not_have_is_told(source: Repository) -> None:
    files = {"other.safetensors": source.files["model.safetensors"]}
    with pytest.raises(SourceError, match="does not have it"):
        Repository(source.hub, source.repo, source.revision, files).read("other.safetensors", 0, 10)


@pytest.mark.parametrize("in_flight", [1, 3])
def test_what_is_jumped_over_is_not_fetched(faulty: Faulty, opened: Opener, in_flight: int) -> None:
    buffer = bytearray(5_000)
    with closing(opened(in_flight=in_flight)) as file:
        for offset in (0, 5_000, 30_000, 150_000, 199_000):
            count = file.read(offset, memoryview(buffer))
            assert buffer[:count] == faulty.content[offset : offset + 5_000]
    spans = {seen.span for seen in faulty.seen}
    assert (150_000, 170_000) in spans
    assert not any(span and 30_000 + (in_flight + 1) * RANGE < span[1] < 150_000 for span in spans)


def test_a_range_that_hangs_is_not_waited_for_once_it_is_jumped_over(faulty: Faulty, opened: Opener) -> None:
    faulty.always["hub"] = lambda talk: (hang(100) if talk.span[0] in {20_000, 40_000} else Talk.partial)(talk)
    with closing(opened(in_flight=3, patience=replace(HASTY, silence=20))) as file:
        buffer = bytearray(1000)
        assert file.read(100_000, memoryview(buffer)) == 1000
        assert buffer == faulty.content[100_000:101_000]


def test_no_more_than_the_ranges_in_flight_are_read_ahead(faulty: Faulty, opened: Opener) -> None:
    opened(in_flight=3)
    until = time.monotonic() + 20
    while faulty.sent < 3 * RANGE and time.monotonic() < until:
        time.sleep(0.01)
    time.sleep(0.05)
    assert faulty.sent == 3 * RANGE


def test_closing_does_not_wait_for_a_hub_that_hangs(faulty: Faulty, opened: Opener) -> None:
    by_begin = {0: Talk.partial, 20_000: hang(), 40_000: hang(100), 60_000: Talk.partial}
    faulty.always["hub"] = lambda talk: by_begin[talk.span[0]](talk)
    file = opened(patience=replace(HASTY, silence=20))
    assert file.read(0, memoryview(bytearray(10))) == 10
    began = time.monotonic()
    file.close()
    file.close()
    assert time.monotonic() - began < 1
    with pytest.raises(ValueError, match="closed"):
        file.read(10, memoryview(bytearray(10)))


@pytest.mark.parametrize("whole", [False, True], ids=["by ranges", "in one transfer"])
def test_a_reader_that_waits_is_woken_when_another_thread_closes(faulty: Faulty, opened: Opener, whole: bool) -> None:
    def silent_whole(talk: object) -> None:
        talk.head(200, {"Content-Length": "201000"})  # type: ignore[attr-defined]
        hang()(talk)  # type: ignore[arg-type]

    faulty.always["hub"] = silent_whole if whole else hang()
    file = opened(patience=replace(HASTY, silence=20))
    closing_soon = threading.Timer(0.2, file.close)
    closing_soon.start()
    began = time.monotonic()
    with pytest.raises(ValueError, match="closed"):
        file.read(0, memoryview(bytearray(10)))
    closing_soon.join()
    assert time.monotonic() - began < 2


def test_a_file_is_not_read_backwards(opened: Opener) -> None:
    file = opened()
    file.read(50_000, memoryview(bytearray(10)))
    with pytest.raises(ValueError, match="forwards"):
        file.read(0, memoryview(bytearray(10)))


READER = """
import sys
from pipeline.files import ListedFile
from pipeline.hub.client import Hub
from pipeline.hub.source import Repository
place = Repository(Hub(sys.argv[1], token="t"), "acme/tiny", "c" * 40, {"model.safetensors": ListedFile(size=201000)})
file = place.open("model.safetensors", range_bytes=20000)
file.read(0, memoryview(bytearray(10)))
print("reading", flush=True)
file.read(20000, memoryview(bytearray(10)))
"""


def test_ctrl_c_ends_a_reader_that_waits_and_forgets_to_close(faulty: Faulty) -> None:
    faulty.faults["hub", 0] = lambda talk: talk.partial()
    faulty.always["hub"] = lambda talk: talk.partial() if talk.span and talk.span[0] == 0 else hang()(talk)
    child = subprocess.Popen([sys.executable, "-c", READER, faulty.hub], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert child.stdout
    assert child.stdout.readline() == b"reading\n"
    time.sleep(0.1)
    child.send_signal(signal.SIGINT)
    _, said = child.communicate(timeout=60)
    assert said.decode().rstrip().endswith("KeyboardInterrupt")

"""Answers that would fill the memory or the disk, keep a run waiting, or list what no listing has, are refused."""

from __future__ import annotations

import gzip
import json
import time
import zlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pipeline.errors import HubUnavailableError, PublishError, SourceError
from pipeline.files import human_size
from pipeline.hub.client import Hub
from pipeline.hub.destination import Destination
from pipeline.hub.transport import ANSWER_BYTES, REFUSAL_BYTES
from tests.matrix.release import IMPATIENT, REPO
from tests.soak.answers import Reading, plainly, world
from tests.soak.between import Answer, Between
from tests.soak.spoiling import resize

HUGE = gzip.compress(bytes(ANSWER_BYTES + 1), 1)
SOON = 30.0  # seconds on a busy machine
FILE = {"type": "file", "oid": "0" * 40, "size": 1, "path": "config.json"}


class Source:
    """A source on a Hub that somebody stands before."""

    def __init__(self, here: Between, commit: str) -> None:
        self.commit = commit
        self.here = here
        self.hub = Hub(here.endpoint, token="alice", patience=replace(IMPATIENT, progress=0.5))

    def spoil(self, part: str, **said: str | bytes) -> None:
        """Have answers to questions with this in their path say something else."""

        def spoil(_: str, path: str, answer: Answer) -> None:
            if part in path:
                answer.status = str(said.get("status", answer.status))
                resize(answer, bytes(said.get("body", answer.body)))  # type: ignore[arg-type]
                for name in said.keys() - {"status", "body"}:
                    answer.set(name.replace("_", "-"), str(said[name]))

        self.here.spoil = spoil


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Between, str]]:
    """Who stands before a Hub, and the commit of the source there, which is only read."""
    folder = tmp_path_factory.mktemp("world")
    with world(folder) as (here, direct):
        yield here, Reading(folder, direct).commit


@pytest.fixture
def source(served: tuple[Between, str]) -> Iterator[Source]:
    here, commit = served
    yield Source(here, commit)
    here.spoil = plainly


@pytest.mark.parametrize("encoding", ["gzip", "gzip, gzip", "deflate", "br"])
def test_an_answer_that_unpacks_to_more_than_an_answer_has_is_refused(source: Source, encoding: str) -> None:
    source.spoil("/tree/", Content_Encoding=encoding, body=HUGE if encoding == "gzip" else gzip.compress(HUGE))
    with pytest.raises(HubUnavailableError, match=r"does not end|encoded as"):
        source.hub.tree(REPO, source.commit)


def test_an_answer_that_is_packed_as_asked_is_read(source: Source) -> None:
    listed = source.hub.tree(REPO, source.commit)
    source.here.spoil = lambda _, path, answer: packed(answer) if "/tree/" in path else None
    assert source.hub.tree(REPO, source.commit) == listed


@pytest.mark.parametrize("whole", [False, True], ids=["in a block", "between two blocks"])
def test_a_packed_answer_that_is_cut_short_is_none(source: Source, *, whole: bool) -> None:
    """What came of it may be JSON by itself, such as a listing without files."""
    packer = zlib.compressobj(wbits=16 + zlib.MAX_WBITS)
    listing = packer.compress(b"[]") + packer.flush(zlib.Z_SYNC_FLUSH)
    source.spoil("/tree/", Content_Encoding="gzip", body=listing if whole else gzip.compress(b"[]" * 99)[:-12])
    with pytest.raises(HubUnavailableError, match="the answer does not end"):
        source.hub.tree(REPO, source.commit)


def test_an_answer_that_says_nothing_of_how_it_is_packed_is_not(source: Source) -> None:
    listed = source.hub.tree(REPO, source.commit)
    source.here.spoil = lambda _, path, answer: answer.set("Content-Encoding", "") if "/tree/" in path else None
    assert source.hub.tree(REPO, source.commit) == listed


def packed(answer: Answer) -> None:
    answer.set("Content-Encoding", "gzip")
    resize(answer, gzip.compress(answer.body))


def test_a_packed_file_is_refused_before_a_byte_of_it_is_unpacked(source: Source, tmp_path: Path) -> None:
    place = source.hub.source(REPO, source.commit)
    source.spoil("/resolve-cache/", Content_Encoding="gzip", body=HUGE)
    with pytest.raises(HubUnavailableError):
        place.download("LICENSE", tmp_path / "to", lambda _: None)
    written = sum(path.stat().st_size for path in (tmp_path / "to").rglob("*") if path.is_file())
    assert written < 1000, human_size(written)


def test_a_file_that_is_to_be_waited_for_for_years_ends_the_run_at_once(source: Source, tmp_path: Path) -> None:
    place = source.hub.source(REPO, source.commit)
    source.spoil("/resolve/", status="429 Too Many Requests", Retry_After="1000000000")
    began = time.monotonic()
    with pytest.raises(HubUnavailableError):
        place.download("LICENSE", tmp_path / "to", lambda _: None)
    assert time.monotonic() - began < SOON


@pytest.mark.parametrize("encoding", ["identity", "gzip", "gzip, gzip"])
def test_a_refusal_that_never_ends_is_not_read_to_its_end(source: Source, tmp_path: Path, encoding: str) -> None:
    place = source.hub.source(REPO, source.commit)
    body = {"identity": bytes(2 * REFUSAL_BYTES), "gzip": HUGE, "gzip, gzip": gzip.compress(HUGE)}[encoding]
    source.spoil("/resolve/", status="403 Forbidden", Content_Encoding=encoding, body=body)
    with pytest.raises(SourceError, match="status 403"):
        place.download("LICENSE", tmp_path / "to", lambda _: None)


@pytest.mark.parametrize(
    "changes",
    [{"path": 1.5}, {"path": ""}, {"path": "\ud800"}, {"size": -1}, {"size": True}, {"size": "1"}, {"oid": None},
     {"lfs": {"oid": 7, "size": 1, "pointerSize": 1}}, {"xetHash": ["x"]}],
    ids=str,
)  # fmt: skip
def test_a_file_that_is_listed_with_something_else_than_its_properties_is_no_listing(
    source: Source, changes: dict[str, Any]
) -> None:
    source.spoil("/tree/", body=json.dumps([{**FILE, **changes}]).encode())
    with pytest.raises(HubUnavailableError, match="does not answer as it should"):
        source.hub.tree(REPO, source.commit)


@pytest.mark.parametrize(
    "refs",
    [
        [{"ref": None}],
        [{"targetCommit": "refs/heads/main"}],
        [{"targetCommit": 7}],
        [{"targetCommit": "0" * 39}],
        {},
        [1],
    ],
    ids=str,
)
def test_references_that_point_to_no_commit_are_no_answer(source: Source, refs: Any) -> None:
    whole = {"name": "main", "ref": "refs/heads/main", "targetCommit": "0" * 40}
    branches = [{**whole, **ref} if isinstance(ref, dict) else ref for ref in refs] if isinstance(refs, list) else refs
    for kind in ("branches", "tags", "pullRequests"):
        said = {"branches": [whole], "tags": [], "converts": [], "pullRequests": [], kind: branches or {"a": 1}}
        source.spoil("/refs", body=json.dumps(said).encode())
        with pytest.raises(HubUnavailableError, match="does not answer as it should"):
            Destination(source.hub, REPO).refs()


@pytest.mark.parametrize("number", ["1", None, 1.5, True])
def test_a_pull_request_without_a_number_is_no_answer(source: Source, number: Any) -> None:
    talk = {"num": number, "title": "a", "author": {"name": "b"}, "createdAt": "2026-11-23T00:07:29.693Z"}
    talk |= {"status": "open", "isPullRequest": True, "repo": {"name": REPO, "type": "model"}}
    source.spoil("/discussions", body=json.dumps({"discussions": [talk], "count": 1, "start": 0}).encode())
    with pytest.raises(HubUnavailableError, match="its answer cannot be read"):
        Destination(source.hub, REPO).open_pulls("a")


@pytest.mark.parametrize("said", [{"auth": None}, {"auth": {"accessToken": 1}}, {"name": "a", "auth": []}, []], ids=str)
def test_a_token_of_which_nothing_is_told_is_no_answer(source: Source, said: Any) -> None:
    source.spoil("/whoami-v2", body=json.dumps(said).encode())
    with pytest.raises(HubUnavailableError, match="its answer cannot be read"):
        source.hub.bearer()


@pytest.mark.parametrize("body", [b"", b"# T", b"#" * 100_000])
def test_a_small_file_that_is_not_the_listed_one_is_no_content(source: Source, body: bytes) -> None:
    assert source.hub.content(REPO, source.commit, "LICENSE", 1 << 20)
    source.spoil("/resolve-cache/", body=body)  # where the Hub sends everybody who asks for a small file
    with pytest.raises(PublishError):
        source.hub.content(REPO, source.commit, "LICENSE", 1 << 20)

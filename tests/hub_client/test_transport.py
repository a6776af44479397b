"""Calls to the Hub's API: repeated where that is safe, ended in time, and never one too many."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from localhub.faults import Faults
from localhub.server import running
from pipeline.errors import HubUnavailableError, RemoteChangedError
from pipeline.hub.client import Hub
from pipeline.hub.destination import Destination
from pipeline.hub.release_files import ReleaseFolder
from pipeline.hub.retry import RetryPolicy

REPO = "alice/model"
IMPATIENT = RetryPolicy(connect=1, silence=1, answer=1, progress=2, pause=0.02, longest_pause=0.2)
Place = Callable[..., Destination]


@pytest.fixture
def faults() -> Faults:
    return Faults()


@pytest.fixture
def place(tmp_path: Path, faults: Faults) -> Iterator[Destination]:
    with running(tmp_path / "hub", faults=faults) as endpoint:
        Destination(Hub(endpoint, token="local"), REPO).create(private=False)  # as long as a busy machine takes
        faults.seen.clear()
        yield Destination(Hub(endpoint, token="local", patience=IMPATIENT), REPO)


@pytest.fixture
def build(tmp_path: Path) -> ReleaseFolder:
    (tmp_path / "build").mkdir()
    (tmp_path / "build" / "notes.md").write_text("mine")
    return ReleaseFolder.of(tmp_path / "build")


@pytest.mark.parametrize("fault", ["status=503", "status=429", "drop", "reset", "cut-answer", "reset-answer", "lost"])
def test_a_question_is_asked_again(place: Destination, faults: Faults, fault: str) -> None:
    faults.rules = (f"GET /refs {fault} times=2",)
    refs = place.refs()
    assert refs is not None
    assert len(faults.seen) == 3


def test_the_hub_says_how_long_to_wait(place: Destination, faults: Faults) -> None:
    faults.rules = ("GET /refs status=429 header=Retry-After:1",)
    began = time.monotonic()
    place.refs()
    assert time.monotonic() - began >= 1


def test_a_hub_that_never_answers_is_given_up(place: Destination, faults: Faults) -> None:
    faults.rules = ("GET /refs status=503 times=always",)
    with pytest.raises(HubUnavailableError, match="no whole answer in") as caught:
        place.refs()
    assert "status 503" in str(caught.value)
    assert len(faults.seen) > 3


@pytest.mark.parametrize("fault", ["hang", "hang-after", "slow=40"])
def test_an_answer_that_does_not_end_is_given_up(place: Destination, faults: Faults, fault: str) -> None:
    faults.rules = (f"GET /refs {fault} times=always",)
    began = time.monotonic()
    with pytest.raises(HubUnavailableError):
        place.refs()
    assert time.monotonic() - began < 20


def test_a_conflict_that_the_client_repeats_for_ever_ends(place: Destination, faults: Faults) -> None:
    body = '{"error":"another conflicting operation is in progress"}'
    faults.rules = (f"POST /api/repos/create status=409 body='{body}' times=always",)
    with pytest.raises(HubUnavailableError):
        place.create(private=False)
    assert len(faults.seen) < 100


def test_a_repository_that_was_created_without_an_answer_is_there(place: Destination, faults: Faults) -> None:
    faults.rules = ("POST /api/repos/create lost",)
    other = Destination(place.hub, "alice/other")
    other.create(private=True)
    assert other.refs() is not None


@pytest.mark.parametrize("fault", ["status=503", "lost", "drop", "cut-answer", "hang-after"])
def test_a_commit_is_sent_once(place: Destination, faults: Faults, build: ReleaseFolder, fault: str) -> None:
    refs = place.refs()
    assert refs is not None
    faults.rules = (f"POST /commit/ {fault}",)
    with pytest.raises(HubUnavailableError):
        place.promote(build, refs.head, "Mine", refs.head)
    assert sum("/commit/" in seen.path for seen in faults.seen) == 1


def test_a_commit_that_comes_late_changes_nothing(place: Destination, build: ReleaseFolder) -> None:
    refs = place.refs()
    assert refs is not None
    place.promote(build, refs.head, "Mine", refs.head)
    first = place.refs()
    with pytest.raises(RemoteChangedError):
        place.promote(build, refs.head, "Mine", refs.head)
    assert place.refs() == first

"""What is told of a failure: the Hub's refusals by their kind, its broken answers as such, and our defects as ours."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from localhub.faults import Faults
from localhub.server import running
from pipeline.errors import CardError, PublishError
from pipeline.hub.client import Hub
from pipeline.hub.destination import Destination
from pipeline.hub.release_files import ReleaseFolder
from pipeline.hub.retry import RetryPolicy

IMPATIENT = RetryPolicy(connect=5, silence=5, answer=5, progress=5, pause=0.02, longest_pause=0.2)
CODES = {400: 70, 401: 3, 403: 3, 404: 8, 405: 70, 406: 70, 409: 8, 410: 70, 412: 8, 413: 70, 415: 70, 422: 70, 429: 9,
         500: 9, 503: 9}  # fmt: skip


@pytest.fixture
def faults() -> Faults:
    return Faults()


@pytest.fixture
def place(tmp_path: Path, faults: Faults) -> Iterator[Destination]:
    with running(tmp_path / "hub", faults=faults) as endpoint:
        made = Destination(Hub(endpoint, token="local", patience=IMPATIENT), "alice/model")
        made.create(private=False)
        yield made


@pytest.fixture
def build(tmp_path: Path) -> ReleaseFolder:
    (tmp_path / "build").mkdir()
    (tmp_path / "build" / "README.md").write_text("mine")
    return ReleaseFolder.of(tmp_path / "build")


def promote(place: Destination, build: ReleaseFolder) -> None:
    refs = place.refs()
    assert refs is not None
    place.promote(build, refs.head, "Mine", refs.head)


@pytest.mark.parametrize("status", CODES)
def test_each_refusal_of_a_commit_has_its_own_exit_code_and_the_hubs_words(
    place: Destination, faults: Faults, build: ReleaseFolder, status: int
) -> None:
    faults.rules = (f"""POST /commit/ status={status} body='{{"error":"so it says"}}'""",)
    with pytest.raises(PublishError) as caught:
        promote(place, build)
    assert caught.value.exit_code == CODES[status]
    assert ("so it says" in str(caught.value)) == (CODES[status] != 9)  # what comes later is told by its status
    assert sum("/commit/" in seen.path for seen in faults.seen) == 1


@pytest.mark.parametrize("status", [400, 422])
def test_a_refused_card_is_told_as_the_card(
    place: Destination, faults: Faults, build: ReleaseFolder, status: int
) -> None:
    faults.rules = (f"""POST /commit/ status={status} body='{{"error":"Invalid metadata in README.md"}}'""",)
    with pytest.raises(CardError, match="Invalid metadata"):
        promote(place, build)


@pytest.mark.parametrize("kind", [KeyError, TypeError, AttributeError, ValueError, RuntimeError, ZeroDivisionError])
def test_a_defect_of_ours_is_neither_the_hubs_nor_tried_again(
    place: Destination, faults: Faults, build: ReleaseFolder, kind: type[Exception]
) -> None:
    """It is planted where an upload tells how far it is, in the midst of the client's calls and ours."""

    def heard(*_: object) -> None:
        raise kind("planted")

    (build.folder / "model.safetensors").write_bytes(bytes(range(256)) * 200)
    refs = place.refs()
    assert refs is not None
    with pytest.raises(kind, match="planted"):
        place.stage(ReleaseFolder.of(build.folder), refs.head, "Mine", heard)
    assert sum("/preupload/" in seen.path for seen in faults.seen) == 1


def test_a_defect_of_ours_beside_a_question_is_ours(place: Destination) -> None:
    lacking: dict[str, str] = {}

    def ask() -> str:
        with place.hub.asking(place.repo):
            place.hub.api.list_repo_refs(place.repo)
            return lacking["name"]

    with pytest.raises(KeyError):
        ask()


def test_what_the_client_stumbles_over_is_the_hubs(place: Destination, faults: Faults) -> None:
    faults.rules = ("GET /refs status=200 body=[1] times=always",)
    with pytest.raises(PublishError, match="its answer cannot be read: TypeError") as caught:
        place.refs()
    assert caught.value.exit_code == 9

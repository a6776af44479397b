"""The Hub says once where the bytes are; its token goes nowhere else; an address that expired is asked for anew."""

from __future__ import annotations

import time

import pytest

from pipeline.errors import HubUnavailableError, SourceError
from pipeline.hub.source import Repository
from tests.hub_ranges.conftest import GIVING_UP, Opener, read_all
from tests.hub_ranges.server import CACHE, NAME, Faulty, Talk, cached, refusing, status


@pytest.fixture(autouse=True)
def stored(faulty: Faulty) -> None:
    faulty.stored = True


def test_the_hub_is_asked_once_and_the_storage_never_sees_the_token(faulty: Faulty, opened: Opener) -> None:
    assert read_all(opened()) == faulty.content
    assert [seen.token for seen in faulty.requests("hub")] == ["Bearer secret"]
    assert {seen.token for seen in faulty.requests("storage")} == {None}
    assert faulty.sent == len(faulty.content)


def test_small_reads_of_a_file_ask_the_hub_once_too(faulty: Faulty, repository: Repository) -> None:
    assert repository.read(NAME, 0, 8) + repository.read(NAME, 8, 100) == faulty.content[:108]
    assert len(faulty.requests("hub")) == 1
    assert {seen.token for seen in faulty.requests("storage")} == {None}


@pytest.mark.parametrize("code", [400, 401, 403, 404, 410])
def test_an_address_that_expired_is_asked_for_anew(faulty: Faulty, opened: Opener, code: int) -> None:
    faulty.faults["storage", 4] = status(code)
    assert read_all(opened(in_flight=1)) == faulty.content
    assert len(faulty.requests("hub")) == 2
    assert faulty.sent == len(faulty.content)
    assert len({seen.path for seen in faulty.requests("storage")}) == 2
    assert {seen.token for seen in faulty.requests("storage")} == {None}


def test_threads_whose_address_expires_together_ask_for_one(faulty: Faulty, opened: Opener) -> None:
    def expiring(talk: Talk) -> None:
        asked = faulty.requests("storage")
        (status(403) if talk.path == asked[0].path and len(asked) > 4 else Talk.partial)(talk)

    faulty.always["storage"] = expiring
    assert read_all(opened()) == faulty.content
    assert len(faulty.requests("hub")) == 2


def test_a_storage_that_is_gone_is_looked_for_anew(faulty: Faulty, opened: Opener) -> None:
    faulty.faults["hub", 0] = lambda talk: talk.redirect("http://127.0.0.1:9/object")
    assert read_all(opened()) == faulty.content
    assert len(faulty.requests("hub")) == 2


def test_a_storage_that_refuses_every_address_is_a_broken_hub(faulty: Faulty, opened: Opener) -> None:
    faulty.always["storage"] = status(403)
    with pytest.raises(HubUnavailableError, match="status 403 from the Hub's storage"):
        read_all(opened(patience=GIVING_UP))
    assert {seen.token for seen in faulty.requests("storage")} == {None}


def test_a_redirect_on_the_hub_keeps_the_token(faulty: Faulty, opened: Opener) -> None:
    faulty.faults["hub", 0] = lambda talk: talk.redirect("/renamed/model")
    assert read_all(opened()) == faulty.content
    assert [seen.token for seen in faulty.requests("hub")] == ["Bearer secret"] * 2


def test_an_address_of_another_file_is_refused(faulty: Faulty, opened: Opener) -> None:
    def another(talk: object) -> None:
        target = f"{faulty.storage}/object/other"
        talk.head(302, {"Location": target, "X-Linked-Etag": '"other"', "Content-Length": "0"})  # type: ignore[attr-defined]

    faulty.faults |= {("storage", 2): status(403), ("hub", 1): another}
    with pytest.raises(SourceError, match="its X-Linked-Etag was"):
        read_all(opened(in_flight=1))


def test_storages_may_name_the_bytes_each_in_its_way(faulty: Faulty, opened: Opener) -> None:
    faulty.always["storage"] = lambda talk: talk.partial(ETag='"stored"')
    assert read_all(opened()) == faulty.content


def test_a_small_file_that_lies_behind_a_path_of_the_api_comes_as_it_is(
    faulty: Faulty, repository: Repository, opened: Opener
) -> None:
    faulty.always["hub"] = cached
    assert repository.read(NAME, 0, 5_000) == faulty.content[:5_000]
    assert read_all(opened()) == faulty.content
    assert any(seen.path.startswith(CACHE) for seen in faulty.requests("hub"))


def test_a_refusal_that_never_ends_holds_nobody_for_longer_than_seconds(faulty: Faulty, repository: Repository) -> None:
    faulty.stored = False
    faulty.always["hub"] = refusing(403)
    began = time.monotonic()
    with pytest.raises(SourceError, match="status 403"):
        repository.read(NAME, 0, 10)
    assert time.monotonic() - began < repository.hub.patience.silence / 2

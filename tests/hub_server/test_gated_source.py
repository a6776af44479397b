"""A gated source and a trusted publisher together: one token reads, another writes, and neither is told to anybody."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from huggingface_hub import HfApi

from localhub.server import running
from pipeline.errors import CannotHereError
from pipeline.hub.client import Hub
from pipeline.recipe import HubSource
from pipeline.source.readers import readers
from tests.desk import REPO, TOKENS, TWO, Desk, Shelf
from tests.hub_server.test_oidc import TRUSTED, Actions, actions

__all__ = ["actions"]

MINE = "alice/tiny-one"
READER = "hf_GUESTneverToBeSeenAnywhere012345678"
GUEST = {READER: {"name": "guest", "role": "read", "access": [REPO]}}


@pytest.fixture
def desk(stocked: Shelf, ready: Path, actions: Actions, tmp_path: Path) -> Iterator[Desk]:
    """A job that a destination trusts, with a home that has come as far as the card."""
    shutil.copytree(stocked.root, tmp_path / "hub", symlinks=True)
    shutil.copytree(ready, tmp_path / "home")
    publisher = {"issuer": actions.address, "claims": TRUSTED}
    (tmp_path / "hub" / "publishers.json").write_text(json.dumps({MINE: [publisher]}))
    (tmp_path / "desk").mkdir()
    with running(tmp_path / "hub", tokens={**TOKENS, **GUEST}) as endpoint:
        api = HfApi(endpoint=endpoint, token="alice")
        api.create_repo(MINE)
        api.update_repo_settings(REPO, gated="manual")
        job = {
            "HF_OIDC_RESOURCE": MINE,
            "HF_OIDC_ID_TOKEN": actions.signed(endpoint),
            "SOURCE_TOKEN": READER,
        }
        yield Desk(tmp_path / "desk", Shelf(endpoint, tmp_path / "hub", stocked.commit), tmp_path / "home", "", job)


def recipe(desk: Desk, **token: str) -> Path:
    return desk.recipe(TWO, {"repo": REPO, "revision": desk.shelf.commit, **token})


def test_a_trusted_publisher_releases_what_it_makes_of_a_gated_source(desk: Desk) -> None:
    without = desk.publish("plan", recipe(desk), "--target", "one")
    assert without.code == 4, without.err
    done = desk.publish("run", recipe(desk, token="SOURCE_TOKEN"), "--target", "one")
    assert done.code == 0, done.err
    assert HfApi(endpoint=desk.shelf.endpoint, token="alice").list_repo_refs(MINE).tags[0].name == "v1"
    written = b"".join(path.read_bytes() for path in desk.home.rglob("*") if path.is_file())
    for text in (done.out.encode(), done.err.encode(), written):
        assert READER.encode() not in text
        assert b"hf_jwt_" not in text


def test_the_token_goes_to_the_hub_of_sources_alone_and_a_missing_one_is_told(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = HubSource(repo=REPO, revision=desk.shelf.commit, token="SOURCE_TOKEN")
    here, elsewhere = Hub(desk.shelf.endpoint, token="nobody"), Hub("http://127.0.0.1:1", token="other")
    monkeypatch.setenv("SOURCE_TOKEN", READER)
    assert [hub.api.token for hub in readers(elsewhere, here, source)] == ["other", READER]
    assert [hub.api.token for hub in readers(here, here, source)] == [READER, READER]
    assert here.api.token == "nobody"
    monkeypatch.delenv("SOURCE_TOKEN")
    with pytest.raises(CannotHereError, match="SOURCE_TOKEN is not set"):
        readers(elsewhere, here, source)

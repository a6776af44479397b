"""Whether a token may publish is found out before anything is made: by its role, its scopes, its organizations."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from localhub.server import running
from pipeline.errors import CannotHereError
from pipeline.hub.answers import TokenInfo
from pipeline.hub.client import Hub


def fine(entity: tuple[str, str], *permissions: str) -> dict[str, Any]:
    scope = {"entity": {"type": entity[0], "name": entity[1]}, "permissions": permissions}
    return {"name": "alice", "role": "fineGrained", "orgs": ["acme"], "fineGrained": {"scoped": [scope]}}


TOKENS = {
    "writes": fine(("user", "alice"), "repo.write"),
    "writes-acme": fine(("org", "acme"), "repo.write", "repo.content.read"),
    "reads": fine(("user", "alice"), "repo.content.read"),
    "writes-one": fine(("model", "alice/there"), "repo.write"),
    "owner": {"name": "alice", "role": "write", "orgs": ["acme"]},
}
MAY = {
    ("writes", "alice/new"): "create",
    ("writes", "alice/there"): "write",
    ("writes", "acme/new"): "",
    ("writes-acme", "acme/new"): "create",
    ("writes-acme", "alice/new"): "",
    ("reads", "alice/new"): "",
    ("reads", "alice/there"): "",
    ("writes-one", "alice/there"): "write",
    ("writes-one", "alice/new"): "",
    ("owner", "acme/new"): "create",
    ("owner", "bob/new"): "",
}


@pytest.fixture(scope="module")
def endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with running(tmp_path_factory.mktemp("hub"), tokens=TOKENS) as address:
        Hub(address, token="owner").api.create_repo("alice/there")
        yield address


@pytest.mark.parametrize(("token", "repo"), MAY)
def test_a_token_that_could_not_publish_is_refused_at_once(endpoint: str, token: str, repo: str) -> None:
    hub = Hub(endpoint, token=token)
    if may := MAY[token, repo]:
        assert hub.require_writer(repo) == (may == "write")
        return
    with pytest.raises(CannotHereError, match="HF_TOKEN"):
        hub.require_writer(repo)


@pytest.mark.parametrize(
    ("role", "may"), [("read", False), ("contributor", True), ("write", True), ("admin", True), (None, True)]
)
def test_who_only_reads_in_an_organization_creates_nothing_there(role: str | None, may: bool) -> None:
    said = {"name": "alice", "orgs": [{"name": "acme", "roleInOrg": role}], "auth": {"accessToken": {"role": "write"}}}
    assert (TokenInfo.of(said).why_not_create_in("acme") == "") == may

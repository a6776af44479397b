"""Repositories come and go as the client asks."""

from __future__ import annotations

import httpx2
import pytest
from huggingface_hub import HfApi
from huggingface_hub.errors import HfHubHTTPError, RepositoryNotFoundError

from tests.hub_server.conftest import PLAIN


@pytest.mark.parametrize("kind", ["model", "dataset"])
def test_each_kind_of_repository_can_be_made_filled_and_deleted(api: HfApi, kind: str) -> None:
    url = api.create_repo("alice/thing", repo_type=kind)
    assert (url.repo_id, url.repo_type) == ("alice/thing", kind)

    api.upload_file(path_or_fileobj=b"hello", path_in_repo="a.txt", repo_id="alice/thing", repo_type=kind)
    assert api.list_repo_files("alice/thing", repo_type=kind) == [".gitattributes", "a.txt"]
    assert api.repo_info("alice/thing", repo_type=kind).id == "alice/thing"

    api.delete_repo("alice/thing", repo_type=kind)
    assert not api.repo_exists("alice/thing", repo_type=kind)
    with pytest.raises(RepositoryNotFoundError):
        api.delete_repo("alice/thing", repo_type=kind)


def test_creating_a_repository_twice_is_a_conflict_that_exist_ok_forgives(api: HfApi, repo: str) -> None:
    with pytest.raises(HfHubHTTPError) as caught:
        api.create_repo(repo)
    assert caught.value.response.status_code == 409
    assert caught.value.response.json()["url"].endswith("/alice/model")
    assert api.create_repo(repo, exist_ok=True).repo_id == repo


def test_a_repository_without_an_owner_becomes_the_callers(api: HfApi) -> None:
    assert api.create_repo("mine").repo_id == "local/mine"


def test_a_missing_repository_is_told_by_its_error_code(endpoint: str) -> None:
    for path in ("api/models/alice/none", "api/models/gpt2", "alice/none/resolve/main/a", "gpt2/resolve/main/a"):
        answer = httpx2.get(f"{endpoint}/{path}")
        assert (answer.status_code, answer.headers["X-Error-Code"]) == (404, "RepoNotFound"), path


def test_names_that_the_client_would_refuse_are_refused_by_the_server_too(
    endpoint: str, subtests: pytest.Subtests
) -> None:
    for name in ("..", "a--b", "a" * 97):
        with subtests.test(name=name):
            answer = httpx2.post(f"{endpoint}/api/repos/create", json={"name": name, "organization": "alice"})
            assert (answer.status_code, answer.headers["X-Error-Code"]) == (400, "BadRequest")


def test_settings_are_shown_by_the_repository(api: HfApi, repo: str) -> None:
    api.update_repo_settings(repo, gated="auto", private=True)
    info = api.model_info(repo)
    assert (info.gated, info.private) == ("auto", True)
    api.update_repo_settings(repo, gated=False)
    info = api.model_info(repo)
    assert (info.gated, info.private) == (False, True)


def test_every_error_has_a_code_and_an_id(endpoint: str, repo: str) -> None:
    for answer in (
        httpx2.get(f"{endpoint}/api/no-such-call"),
        httpx2.delete(f"{endpoint}/api/whoami-v2"),
        httpx2.post(f"{endpoint}/api/repos/create", content=b"{not json"),
        httpx2.post(f"{endpoint}/api/models/{repo}/commit/main", content=b""),
        httpx2.get(
            f"{endpoint}/{repo}/resolve/main/.gitattributes",
            headers=PLAIN | {"Range": "bytes=999999-"},
            follow_redirects=True,
        ),
    ):
        assert answer.status_code >= 400
        assert answer.headers["X-Error-Code"]
        assert answer.headers["X-Request-Id"]


def test_whoami_names_the_local_owner(endpoint: str) -> None:
    me = HfApi(endpoint=endpoint).whoami(token="hf_any")
    assert (me["name"], me["orgs"], me["auth"]["accessToken"]["role"]) == ("local", [], "admin")

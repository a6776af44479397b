"""With tokens, everyone may do what they may and sees what they may see."""

from __future__ import annotations

import hashlib
import json
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx2
import pytest
from huggingface_hub import HfApi
from huggingface_hub.errors import GatedRepoError, HfHubHTTPError, RepositoryNotFoundError

from localhub.errors import LocalHubError
from localhub.server import running

TOKENS = {
    "hf_alice": {"name": "alice", "role": "write", "orgs": ["my-org"]},
    "hf_reader": {"name": "alice", "role": "read", "orgs": ["my-org"]},
    "hf_bob": {"name": "bob", "role": "write"},
    "hf_guest": {"name": "guest", "role": "read", "access": ["my-org/gated"]},
}
TOKENS |= {
    "hf_robot": {
        "name": "robot",
        "role": "fineGrained",
        "fineGrained": {
            "scoped": [
                {
                    "entity": {"type": "model", "name": "my-org/model"},
                    "permissions": ["repo.content.read", "repo.write"],
                },
                {"entity": {"type": "dataset", "name": "my-org/secret"}, "permissions": ["repo.content.read"]},
            ],
        },
    },
    "hf_releaser": {
        "name": "robot",
        "role": "fineGrained",
        "fineGrained": {"scoped": [{"entity": {"type": "org", "name": "my-org"}, "permissions": ["repo.write"]}]},
    },
    "hf_talker": {"name": "talker", "role": "fineGrained", "fineGrained": {"global": ["discussion.write"]}},
    "hf_narrow": {"name": "guest", "role": "fineGrained", "access": ["my-org/gated"], "fineGrained": {}},
    "hf_old": {"name": "alice", "role": "write", "expires": "2020-01-01T00:00:00Z"},
    "hf_young": {"name": "alice", "role": "write", "expires": "2099-01-01T00:00:00Z"},
}
As = Callable[[str | bool], HfApi]


@pytest.fixture
def hub(root: Path) -> Iterator[str]:
    with running(root, tokens=TOKENS) as endpoint:
        yield endpoint


@pytest.fixture
def who(hub: str) -> As:
    """Return the client as the bearer of a token, or of none."""
    return lambda token: HfApi(endpoint=hub, token=token)


def refusal(act: Callable[[], object]) -> tuple[int, str]:
    with pytest.raises(HfHubHTTPError) as caught:
        act()
    return caught.value.response.status_code, caught.value.response.headers["X-Error-Code"]


def write(api: HfApi, repo: str) -> Callable[[], object]:
    return lambda: api.upload_file(path_or_fileobj=b"x", path_in_repo="x.txt", repo_id=repo)


def test_an_unknown_token_opens_nothing(who: As) -> None:
    who("hf_alice").create_repo("my-org/model")
    assert refusal(lambda: who("hf_wrong").model_info("my-org/model")) == (401, "InvalidCredentials")


def test_whoami_tells_name_organizations_and_role(who: As, hub: str) -> None:
    me = who("hf_alice").whoami()
    assert (me["name"], [org["name"] for org in me["orgs"]]) == ("alice", ["my-org"])
    assert who("hf_reader").whoami()["auth"]["accessToken"]["role"] == "read"
    assert httpx2.get(f"{hub}/api/whoami-v2").status_code == 401


def test_writing_needs_a_role_and_a_namespace(who: As) -> None:
    who("hf_alice").create_repo("my-org/model")
    write(who("hf_alice"), "my-org/model")()
    for token in ("hf_reader", "hf_bob", "hf_guest"):
        api = who(token)
        assert refusal(write(api, "my-org/model")) == (403, "Forbidden")
        assert refusal(lambda api=api: api.create_repo("my-org/other")) == (403, "Forbidden")
        assert refusal(lambda api=api: api.delete_repo("my-org/model")) == (403, "Forbidden")
        assert refusal(lambda api=api: api.create_tag("my-org/model", tag="v1")) == (403, "Forbidden")
        assert refusal(lambda api=api: api.update_repo_settings("my-org/model", private=True)) == (403, "Forbidden")
    assert refusal(write(who(False), "my-org/model")) == (401, "Unauthorized")


def test_a_private_repository_does_not_exist_for_others(who: As) -> None:
    who("hf_alice").create_repo("my-org/secret", private=True)
    assert who("hf_reader").model_info("my-org/secret").private
    for token in ("hf_bob", "hf_guest", False):
        api = who(token)
        for act in (
            lambda api=api: api.model_info("my-org/secret"),
            lambda api=api: api.list_repo_files("my-org/secret"),
            lambda api=api: api.auth_check("my-org/secret", write=True),
            lambda api=api: api.list_repo_refs("my-org/secret"),
            write(api, "my-org/secret"),
        ):
            with pytest.raises(RepositoryNotFoundError) as caught:
                act()
            assert caught.value.response.status_code == 404
    with pytest.raises(RepositoryNotFoundError):
        who("hf_bob").delete_repo("my-org/secret")


def test_gated_files_are_for_those_who_were_let_in(who: As, tmp_path: Path) -> None:
    alice = who("hf_alice")
    alice.create_repo("my-org/gated")
    alice.upload_file(path_or_fileobj=b"\0", path_in_repo="m.bin", repo_id="my-org/gated")
    alice.update_repo_settings("my-org/gated", gated="auto")

    for token in ("hf_alice", "hf_reader", "hf_guest", "hf_releaser"):
        own_cache = tmp_path / str(token)
        assert Path(who(token).hf_hub_download("my-org/gated", "m.bin", cache_dir=own_cache)).read_bytes() == b"\0"
    for token in ("hf_bob", "hf_narrow", False):
        api = who(token)
        assert api.model_info("my-org/gated").gated == "auto"
        with pytest.raises(GatedRepoError):
            api.hf_hub_download("my-org/gated", "m.bin", cache_dir=tmp_path / str(token))


def test_a_fine_grained_token_writes_to_what_its_scopes_name_and_nothing_else(who: As) -> None:
    for repo in ("my-org/model", "my-org/other"):
        who("hf_alice").create_repo(repo)
    write(who("hf_robot"), "my-org/model")()
    who("hf_robot").auth_check("my-org/model", write=True)
    assert refusal(write(who("hf_robot"), "my-org/other")) == (403, "Forbidden")
    for act in (
        lambda: who("hf_robot").create_repo("my-org/new"),
        lambda: who("hf_robot").delete_repo("my-org/model"),
    ):
        assert refusal(act) == (403, "Forbidden"), "a repository's scope is not its namespace's"
    who("hf_releaser").create_repo("my-org/new")
    write(who("hf_releaser"), "my-org/new")()
    assert refusal(lambda: who("hf_releaser").create_repo("robot/own")) == (403, "Forbidden")


def test_a_fine_grained_token_sees_the_private_repositories_of_its_scopes(who: As) -> None:
    for kind in ("model", "dataset"):
        who("hf_alice").create_repo("my-org/secret", repo_type=kind, private=True)
    robot = who("hf_robot")
    assert robot.list_repo_files("my-org/secret", repo_type="dataset")
    with pytest.raises(RepositoryNotFoundError):
        robot.model_info("my-org/secret")
    assert who("hf_releaser").model_info("my-org/secret").private
    with pytest.raises(RepositoryNotFoundError):
        who("hf_talker").model_info("my-org/secret")


def test_pull_requests_are_for_everyone_who_may_write_somewhere(who: As) -> None:
    who("hf_alice").create_repo("my-org/model")
    for number, token in enumerate(("hf_bob", "hf_talker"), start=1):
        assert who(token).create_pull_request("my-org/model", title="A change").num == number
    for token, status in (("hf_reader", 403), ("hf_narrow", 403), (False, 401)):
        api = who(token)
        assert refusal(lambda api=api: api.create_pull_request("my-org/model", title="A change"))[0] == status


def test_only_its_author_or_a_writer_closes_a_pull_request(who: As) -> None:
    who("hf_alice").create_repo("my-org/model")
    who("hf_bob").create_pull_request("my-org/model", title="A change")
    talker, bob = who("hf_talker"), who("hf_bob")
    assert refusal(lambda: talker.change_discussion_status("my-org/model", 1, new_status="closed"))[0] == 403
    bob.change_discussion_status("my-org/model", 1, new_status="open")
    who("hf_alice").change_discussion_status("my-org/model", 1, new_status="closed")


def test_a_token_is_nobodys_after_it_expired(who: As) -> None:
    assert refusal(lambda: who("hf_old").whoami()) == (401, "InvalidCredentials")
    assert who("hf_young").whoami()["auth"]["accessToken"]["expiresAt"].startswith("2099")


def test_tokens_are_found_in_the_store(root: Path) -> None:
    root.mkdir()
    (root / "tokens.json").write_text(json.dumps(TOKENS))
    (root / "tokens.json").chmod(0o600)
    with running(root) as endpoint:
        assert HfApi(endpoint=endpoint, token="hf_bob").whoami()["name"] == "bob"
        assert refusal(lambda: HfApi(endpoint=endpoint, token=False).create_repo("bob/model"))[0] == 401


def test_a_token_file_that_others_may_read_is_refused(root: Path) -> None:
    root.mkdir()
    (root / "tokens.json").write_text(json.dumps(TOKENS))
    (root / "tokens.json").chmod(0o644)
    with pytest.raises(LocalHubError, match="chmod 600"), running(root):
        pass


def test_other_accounts_of_the_machine_cannot_read_a_new_store(root: Path) -> None:
    with running(root):
        assert root.stat().st_mode & 0o077 == 0
        assert (root / "storage.key").stat().st_mode & 0o077 == 0


def test_a_token_file_may_hold_digests_instead_of_tokens(root: Path) -> None:
    digest = "sha256:" + hashlib.sha256(b"hf_secret").hexdigest()
    with running(root, tokens={digest: {"name": "alice", "role": "write"}}) as endpoint:
        assert HfApi(endpoint=endpoint, token="hf_secret").whoami()["name"] == "alice"
        assert refusal(lambda: HfApi(endpoint=endpoint, token=digest).whoami())[0] == 401


@pytest.mark.parametrize(
    "wrong",
    [
        {"name": "x", "role": "admin"},
        {"name": "x", "role": "read", "admin": True},
        {
            "name": "x",
            "role": "fineGrained",
            "fineGrained": {"scoped": [{"entity": {"type": "org", "name": "o"}, "permissions": ["repo.wirte"]}]},
        },
    ],
)
def test_a_wrong_token_file_is_an_error_that_does_not_show_the_token(root: Path, wrong: dict[str, object]) -> None:
    tokens = {"hf_" + "secret": wrong}
    with pytest.raises(LocalHubError, match="number 1") as caught, running(root, tokens=tokens):
        pass
    assert "hf_secret" not in "".join(traceback.format_exception(caught.value))

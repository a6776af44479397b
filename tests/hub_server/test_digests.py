"""Knowing what a large file is called is not having it: listings show SHA-256s to people who may not have the bytes."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx2
import huggingface_hub
import pytest
from huggingface_hub import CommitOperationAdd, HfApi
from huggingface_hub.errors import HfHubHTTPError

from localhub.server import running
from tests.hub_server.conftest import LFS
from tests.hub_server.handmade import CLIENT, Made, Xet
from tests.hub_server.test_access import refusal

TOKENS = {
    "hf_alice": {"name": "alice", "role": "write"},
    "hf_bob": {"name": "bob", "role": "write"},
    "hf_carol": {"name": "carol", "role": "write"},
    "hf_reader": {"name": "bob", "role": "read"},
}
SECRET = bytes(range(256)) * 8
OID = hashlib.sha256(SECRET).hexdigest()
CHUNKS = [b"a header that many files share" * 9, bytes(range(250)) * 2]
As = Callable[[str], HfApi]


@pytest.fixture
def hub(root: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_DISABLE_XET", True)
    with running(root, tokens=TOKENS) as endpoint:
        alice = HfApi(endpoint=endpoint, token="hf_alice")
        for repo in ("alice/gated", "alice/private", "alice/public"):
            alice.create_repo(repo)
        push(alice, "alice/gated", SECRET)
        alice.update_repo_settings("alice/gated", gated="auto")
        HfApi(endpoint=endpoint, token="hf_bob").create_repo("bob/own")
        yield endpoint


@pytest.fixture
def who(hub: str) -> As:
    return lambda token: HfApi(endpoint=hub, token=token)


def push(api: HfApi, repo: str, content: bytes, path: str = "m.bin", **options: Any) -> Any:
    return api.create_commit(repo, [CommitOperationAdd(path, content)], commit_message="Add a file", **options)


def header(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def named_only(hub: str, token: str, repo: str, oid: str = OID, more: str = "") -> int:
    """Commit a large file of which nothing but its SHA-256 is sent, and return the status."""
    file = {"key": "lfsFile", "value": {"path": "stolen.bin", "algo": "sha256", "oid": oid}}
    body = json.dumps({"key": "header", "value": {"summary": "Take it"}}) + "\n" + json.dumps(file)
    url = f"{hub}/api/models/{repo}/commit/main{more}"
    return CLIENT.post(url, content=body, headers=header(token)).status_code


def batch(hub: str, token: str, repo: str, oid: str = OID, size: int = len(SECRET)) -> dict[str, Any]:
    wanted = {"operation": "upload", "objects": [{"oid": oid, "size": size}]}
    url = f"{hub}/{repo}.git/info/lfs/objects/batch"
    answer = CLIENT.post(url, json=wanted, headers=header(token) | LFS)
    assert answer.status_code == 200, answer.text
    row: dict[str, Any] = answer.json()["objects"][0]
    return row


def send(upload: dict[str, Any], content: bytes) -> httpx2.Response:
    return CLIENT.put(upload["href"], content=content)


def test_a_digest_that_a_listing_shows_opens_nothing(hub: str, who: As) -> None:
    (shown,) = who("hf_bob").get_paths_info("alice/gated", ["m.bin"])
    assert shown.lfs is not None
    assert shown.lfs.sha256 == OID
    for repo, more in (("bob/own", ""), ("bob/own", "?create_pr=1"), ("alice/public", "?create_pr=1")):
        assert named_only(hub, "hf_bob", repo, more=more) == 400
    actions = batch(hub, "hf_bob", "bob/own")["actions"]
    asked = {"oid": OID, "size": len(SECRET)}
    assert CLIENT.post(actions["verify"]["href"], json=asked, headers=header("hf_bob")).status_code == 404
    assert named_only(hub, "hf_bob", "bob/own") == 400
    assert who("hf_bob").list_repo_files("bob/own") == [".gitattributes"]


def test_whoever_has_the_bytes_sends_them_and_may_commit_them(hub: str, who: As, tmp_path: Path) -> None:
    upload = batch(hub, "hf_bob", "bob/own")["actions"]["upload"]
    assert send(upload, b"\0" * len(SECRET)).status_code == 400
    assert named_only(hub, "hf_bob", "bob/own") == 400, "other bytes prove nothing"
    push(who("hf_bob"), "bob/own", SECRET)
    assert Path(who("hf_bob").hf_hub_download("bob/own", "m.bin", local_dir=tmp_path)).read_bytes() == SECRET


def test_an_address_is_for_the_repository_that_it_was_given_for(hub: str) -> None:
    upload = batch(hub, "hf_bob", "bob/own")["actions"]["upload"]
    elsewhere = {"href": upload["href"].replace("bob/own", "alice/public")}
    assert send(elsewhere, SECRET).status_code == 403
    assert send(upload, SECRET).status_code == 200
    assert named_only(hub, "hf_bob", "bob/own") == 200
    assert named_only(hub, "hf_alice", "alice/public") == 400, "it arrived for the other one"


def test_what_was_uploaded_for_a_repository_goes_with_it(hub: str, who: As) -> None:
    bob = who("hf_bob")
    assert send(batch(hub, "hf_bob", "bob/own")["actions"]["upload"], SECRET).status_code == 200
    bob.delete_repo("bob/own")
    late = batch(hub, "hf_bob", bob.create_repo("bob/other").repo_id)["actions"]["upload"]
    bob.delete_repo("bob/other")
    assert send(late, SECRET).status_code == 404
    for name in ("bob/own", "bob/other"):
        bob.create_repo(name)
        assert named_only(hub, "hf_bob", name) == 400


@pytest.mark.parametrize("repo", ["alice/public", "alice/gated"])
def test_whoever_may_discuss_proposes_a_commit_and_touches_no_branch(
    hub: str, who: As, repo: str, tmp_path: Path
) -> None:
    alice, bob = who("hf_alice"), who("hf_bob")
    before = alice.list_repo_refs(repo)
    pull = push(bob, repo, b"\0proposed" * 500, "new.bin", create_pr=True)
    assert alice.list_repo_refs(repo) == before
    assert alice.get_discussion_details(repo, 1).author == "bob"
    push(bob, repo, b"more", "new.txt", revision="refs/pr/1")
    assert refusal(lambda: push(bob, repo, b"x", "x.txt")) == (403, "Forbidden")
    assert refusal(lambda: push(who("hf_carol"), repo, b"x", "x.txt", revision="refs/pr/1")) == (403, "Forbidden")
    assert refusal(lambda: push(who("hf_reader"), repo, b"x", "x.txt", create_pr=True)) == (403, "Forbidden")
    assert refusal(lambda: push(bob, repo, b"x", "x.txt", create_pr=True, revision=pull.pr_revision))[0] == 404
    found = alice.hf_hub_download(repo, "new.bin", revision="refs/pr/1", local_dir=tmp_path)
    assert Path(found).read_bytes() == b"\0proposed" * 500


def test_nobody_proposes_to_what_they_cannot_see(hub: str, who: As) -> None:
    who("hf_alice").update_repo_settings("alice/private", private=True)
    with pytest.raises(HfHubHTTPError) as caught:
        push(who("hf_bob"), "alice/private", b"x", "x.txt", create_pr=True)
    assert caught.value.response.status_code == 404
    assert named_only(hub, "hf_bob", "alice/private", more="?create_pr=1") == 404


def hidden(hub: str) -> tuple[Made, Xet]:
    """Put a file by Xet into the gated repository; return it and bob's storage."""
    alice = Xet(hub, "alice/gated", "hf_alice")
    name = alice.send_xorb(CHUNKS)
    made = Made([(name, 0, 2)], {name: CHUNKS})
    assert alice.post_shard(made.shard()).status_code == 200
    assert alice.commit(made).status_code == 200
    return made, Xet(hub, "bob/own", "hf_bob")


def test_a_file_that_came_by_xet_for_one_repository_is_not_another_ones(hub: str) -> None:
    made, bob = hidden(hub)
    assert "actions" in batch(hub, "hf_bob", "bob/own", made.sha256, len(made.content))
    assert bob.commit(made).status_code == 400


def test_a_known_file_is_proven_again_by_whoever_announces_it(hub: str) -> None:
    made, bob = hidden(hub)
    for changes in ({"proof": bytes(32)}, {"terms": []}, {"flags": 1 << 30}):
        lie = Made(made.terms, made.xorbs, {"name": made.name, "sha256": made.sha256, **changes})
        assert bob.post_shard(lie.shard()).status_code == 400
        assert bob.commit(made).status_code == 400
    without_terms = Made([], {}, {"name": made.name, "sha256": made.sha256})
    assert bob.post_shard(without_terms.shard()).status_code == 400, "its two names are in every listing"
    assert bob.commit(made).status_code == 400

    assert bob.post_shard(made.shard()).status_code == 200, "who has the chunks sends none of them again"
    assert bob.commit(made).status_code == 200


def test_tokens_of_xet_for_a_pull_request_are_for_who_may_discuss(hub: str) -> None:
    made, _ = hidden(hub)
    bob = Xet(hub, "alice/gated", "hf_bob")
    assert bob.token("write", "None?create_pr=1").status_code == 200
    assert bob.token("write", "None").status_code == 403
    assert Xet(hub, "alice/gated", "hf_reader").token("write", "None?create_pr=1").status_code == 403
    assert Xet(hub, "alice/gated").token("write", "None?create_pr=1").status_code == 401
    token = bob.token("write", "None?create_pr=1").json()
    url = f"{token['casUrl']}/v1/shards"
    assert CLIENT.post(url, content=made.shard(), headers=header(token["accessToken"])).status_code == 200
    assert named_only(hub, "hf_bob", "alice/gated", made.sha256, "?create_pr=1") == 200
    assert named_only(hub, "hf_bob", "bob/own", made.sha256) == 400, "it arrived for the other one"

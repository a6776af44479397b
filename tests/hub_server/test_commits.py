"""A commit lands whole, on the parent it was made for, or not at all."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import Any

import httpx2
import pytest
from huggingface_hub import CommitOperationAdd, CommitOperationCopy, CommitOperationDelete, HfApi
from huggingface_hub.errors import BadRequestError, HfHubHTTPError, RemoteEntryNotFoundError, RevisionNotFoundError

Push = Callable[..., Any]


def send(endpoint: str, repo: str, *rows: dict[str, Any], revision: str = "main") -> httpx2.Response:
    header = {"key": "header", "value": {"summary": "Change files", "description": ""}}
    body = "".join(json.dumps(row) + "\n" for row in (header, *rows))
    return httpx2.post(f"{endpoint}/api/models/{repo}/commit/{revision}", content=body)


def small(path: str, content: bytes = b"x") -> dict[str, Any]:
    value = {"path": path, "content": base64.b64encode(content).decode(), "encoding": "base64"}
    return {"key": "file", "value": value}


def test_a_commit_on_the_expected_parent_lands(api: HfApi, repo: str, push: Push) -> None:
    first = push({"a.txt": b"1"}, parent_commit=api.model_info(repo).sha)
    second = push({"a.txt": b"2"}, parent_commit=first.oid[:7])
    assert api.model_info(repo).sha == second.oid
    assert second.commit_url.endswith(f"/alice/model/commit/{second.oid}")


def test_the_history_is_exactly_what_writers_were_told_each_on_the_parent_it_named(
    api: HfApi, repo: str, push: Push
) -> None:
    """Eight writers make three commits each; who is refused looks at the head again."""
    acknowledged: dict[str, str] = {}

    def write(number: int) -> None:
        for turn in range(3):
            while True:
                parent = str(api.model_info(repo).sha)
                try:
                    acknowledged[push({f"{number}-{turn}.txt": b"mine"}, parent_commit=parent).oid] = parent
                    break
                except HfHubHTTPError as error:
                    if error.response.status_code != 412:
                        raise

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(write, range(8)))
    history = [commit.commit_id for commit in api.list_repo_commits(repo)]
    assert len(acknowledged) == 24
    assert acknowledged == dict(pairwise(history))
    assert len(api.list_repo_files(repo)) == 25


def test_files_and_folders_can_be_deleted_replaced_and_copied(api: HfApi, repo: str, push: Push) -> None:
    push({"a.txt": b"a", "old/b.txt": b"b", "old/c.bin": b"c\0"})
    operations = [
        CommitOperationDelete("a.txt"),
        CommitOperationCopy("old/c.bin", "new/c.bin"),
        CommitOperationCopy("old/b.txt", "new/b.txt"),
        CommitOperationDelete("old/"),
        CommitOperationAdd("old/d.txt", b"d"),
    ]
    api.create_commit(repo, operations, commit_message="Tidy up")
    assert api.list_repo_files(repo) == [".gitattributes", "new/b.txt", "new/c.bin", "old/d.txt"]


@pytest.mark.parametrize("path", ["none.txt", "none/"])
def test_deleting_what_is_not_there_changes_nothing(api: HfApi, repo: str, path: str) -> None:
    head = api.model_info(repo).sha
    with pytest.raises(RemoteEntryNotFoundError):
        api.create_commit(repo, [CommitOperationDelete(path)], commit_message="Delete it")
    assert api.model_info(repo).sha == head


def test_pushing_the_same_again_makes_no_commit(api: HfApi, repo: str, push: Push) -> None:
    files = {"a.txt": b"text", "b.safetensors": b"weights\0"}
    assert push(files).oid == push(files).oid
    assert len(api.list_repo_commits(repo)) == 2


def test_tags_and_commit_ids_take_no_commits(api: HfApi, repo: str, push: Push) -> None:
    api.create_tag(repo, tag="v1")
    for revision in ("v1", api.model_info(repo).sha, "none"):
        with pytest.raises(RevisionNotFoundError):
            push({"a.txt": b"1"}, revision=revision)


def test_unsafe_paths_are_refused(endpoint: str, api: HfApi, repo: str, subtests: pytest.Subtests) -> None:
    climbing = ["/etc/passwd", "../up", "a/../b", "a/./b", "a//b", "a\\b", ".git/config", "a/.GIT/b", "", "a/"]
    for path in [*climbing, "a\nb", "a" * 256, "/".join(["abc"] * 300), "\ud800"]:
        with subtests.test(path=repr(path)[:80]):
            answer = send(endpoint, repo, small("good.txt"), small(path))
            assert (answer.status_code, answer.headers["X-Error-Code"]) == (400, "BadRequest")
    assert api.list_repo_files(repo) == [".gitattributes"]


def test_a_file_cannot_be_a_folder_too(endpoint: str, repo: str) -> None:
    assert send(endpoint, repo, small("a"), small("a/b")).status_code == 400


def test_operations_that_cannot_be_read_are_refused(endpoint: str, repo: str, subtests: pytest.Subtests) -> None:
    rows: list[dict[str, Any]] = [
        {"key": "unknown", "value": {}},
        {"key": "file"},
        {"key": "file", "value": {"path": "a"}},
        {"key": "file", "value": "a"},
        {"key": "file", "value": {"path": "a", "content": "!", "encoding": "base64"}},
        {"key": "lfsFile", "value": {"path": "a", "oid": "../../x", "size": 1}},
        {"value": 1},
    ]
    for row in rows:
        with subtests.test(row=row):
            assert send(endpoint, repo, row).status_code == 400


def test_a_file_too_large_for_git_is_refused_unless_it_comes_as_lfs(endpoint: str, repo: str) -> None:
    assert send(endpoint, repo, small("big.txt", b"x" * (10 * 1024 * 1024 + 1))).status_code == 400


def test_a_large_text_file_goes_to_lfs_and_into_gitattributes(api: HfApi, repo: str, push: Push) -> None:
    push({"tokenizer.json": b"{" + b" " * (10 * 1024 * 1024) + b"}", "small.json": b"{}"})
    large_one, small_one = api.get_paths_info(repo, ["tokenizer.json", "small.json"])
    assert (large_one.lfs is not None, small_one.lfs) == (True, None)
    with open(api.hf_hub_download(repo, ".gitattributes")) as file:  # noqa: PTH123
        lines = file.read().splitlines()
    assert lines[-1] == "tokenizer.json filter=lfs diff=lfs merge=lfs -text"


def test_the_message_is_split_into_title_and_description(api: HfApi, repo: str, push: Push) -> None:
    push({"a.txt": b"1"}, message="One line\n\nAnd more.", commit_description="And the rest.")
    made = api.list_repo_commits(repo)[0]
    assert (made.title, made.message) == ("One line", "And more.\n\nAnd the rest.")


def test_an_empty_message_is_refused(endpoint: str, repo: str) -> None:
    header = {"key": "header", "value": {"summary": " ", "description": ""}}
    body = "".join(json.dumps(row) + "\n" for row in (header, small("a")))
    assert httpx2.post(f"{endpoint}/api/models/{repo}/commit/main", content=body).status_code == 400


def test_branches_and_tags_do_not_move_and_are_not_made_twice(api: HfApi, repo: str, push: Push) -> None:
    first = api.model_info(repo).sha
    api.create_tag(repo, tag="v1")
    push({"a.txt": b"1"})
    for make in (lambda: api.create_tag(repo, tag="v1"), lambda: api.create_branch(repo, branch="main")):
        with pytest.raises(HfHubHTTPError) as caught:
            make()
        assert caught.value.response.status_code == 409
    api.create_tag(repo, tag="v1", exist_ok=True)
    assert api.model_info(repo, revision="v1").sha == first


def test_refs_are_listed_and_deleted_and_main_stays(api: HfApi, repo: str) -> None:
    head = api.model_info(repo).sha
    api.create_branch(repo, branch="dev")
    api.create_tag(repo, tag="v1/rc", revision=head[:8])
    refs = api.list_repo_refs(repo)
    assert {branch.name: branch.target_commit for branch in refs.branches} == {"main": head, "dev": head}
    assert [(tag.name, tag.ref, tag.target_commit) for tag in refs.tags] == [("v1/rc", "refs/tags/v1/rc", head)]

    api.delete_branch(repo, branch="dev")
    api.delete_tag(repo, tag="v1/rc")
    with pytest.raises(HfHubHTTPError):
        api.delete_branch(repo, branch="main")
    with pytest.raises(RevisionNotFoundError):
        api.delete_tag(repo, tag="v1/rc")
    refs = api.list_repo_refs(repo)
    assert ([branch.name for branch in refs.branches], refs.tags) == (["main"], [])


def test_names_that_git_refuses_are_no_branches(api: HfApi, repo: str, subtests: pytest.Subtests) -> None:
    for name in ("refs/pr/5", "a..b", "a" * 256):
        with subtests.test(name=name), pytest.raises(BadRequestError):
            api.create_branch(repo, branch=name)


def test_text_that_utf_8_cannot_write_is_refused(endpoint: str, api: HfApi, repo: str) -> None:
    half = json.dumps({"summary": "Half \ud800", "description": ""})
    body = '{"key": "header", "value": %s}\n%s\n' % (half, json.dumps(small("a")))  # noqa: UP031
    assert httpx2.post(f"{endpoint}/api/models/{repo}/commit/main", content=body).status_code == 400
    title = json.dumps({"title": "Half \ud800", "description": "", "pullRequest": True})
    assert httpx2.post(f"{endpoint}/api/models/{repo}/discussions", content=title).status_code == 400
    assert len(api.list_repo_commits(repo)) == 1


def test_a_squashed_branch_holds_the_same_files_in_one_commit(api: HfApi, repo: str, push: Push) -> None:
    push({"a.txt": b"1"})
    push({"a.txt": b"2", "m.bin": b"\0"})
    before = list(api.list_repo_tree(repo, recursive=True))
    api.super_squash_history(repo, commit_message="All at once")
    assert [commit.title for commit in api.list_repo_commits(repo)] == ["All at once"]
    assert list(api.list_repo_tree(repo, recursive=True)) == before

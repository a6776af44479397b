"""Pull requests stage a change beside the branch that it is for."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import HfApi
from huggingface_hub.errors import BadRequestError, HfHubHTTPError, RevisionNotFoundError

from localhub.server import running
from localhub.web import Limits

Push = Callable[..., Any]


def content(api: HfApi, repo: str, path: str, revision: str = "main") -> bytes:
    return Path(api.hf_hub_download(repo, path, revision=revision)).read_bytes()


def status_of(act: Callable[[], object]) -> int:
    with pytest.raises(HfHubHTTPError) as caught:
        act()
    return caught.value.response.status_code


def test_a_pull_request_is_invisible_on_main(api: HfApi, repo: str, push: Push) -> None:
    head = api.model_info(repo).sha
    pull = push({"a.txt": b"a"}, message="Add a", commit_description="Because.", create_pr=True)
    assert (pull.pr_num, pull.pr_revision) == (1, "refs/pr/1")
    assert api.model_info(repo).sha == head
    assert api.model_info(repo, revision="refs/pr/1").sha == pull.oid
    assert content(api, repo, "a.txt", "refs/pr/1") == b"a"

    details = api.get_discussion_details(repo, 1)
    assert (details.title, details.status, details.target_branch) == ("Add a", "open", "refs/heads/main")
    assert details.events[0].content == "Because."
    assert details.events[1].oid == pull.oid


def test_more_commits_can_be_added_to_a_pull_request(api: HfApi, repo: str, push: Push) -> None:
    assert api.create_pull_request(repo, title="A plan").status == "draft"
    push({"a.txt": b"1"}, revision="refs/pr/1")
    push({"b.txt": b"2"}, revision="refs/pr/1")
    assert api.list_repo_files(repo, revision="refs/pr/1") == [".gitattributes", "a.txt", "b.txt"]
    assert api.list_repo_files(repo) == [".gitattributes"]


def test_a_pull_request_can_start_from_a_parent_that_main_has_left(api: HfApi, repo: str, push: Push) -> None:
    parent = api.model_info(repo).sha
    push({"newer.txt": b"newer"})
    pull = push({"a.txt": b"a"}, create_pr=True, parent_commit=parent)
    assert api.list_repo_commits(repo, revision="refs/pr/1")[1].commit_id == parent
    assert api.list_repo_files(repo, revision=pull.oid) == [".gitattributes", "a.txt"]
    with pytest.raises(RevisionNotFoundError):
        push({"b.txt": b"b"}, create_pr=True, parent_commit="0" * 40)


def test_a_pull_request_into_a_branch_tells_so(api: HfApi, repo: str, push: Push) -> None:
    api.create_branch(repo, branch="dev")
    push({"a.txt": b"a"}, create_pr=True, revision="dev")
    assert api.get_discussion_details(repo, 1).target_branch == "refs/heads/dev"


def test_pull_requests_are_listed_in_pages_closed_and_opened_again(root: Path) -> None:
    with running(root, limits=Limits(page=5)) as endpoint:
        api = HfApi(endpoint=endpoint, token=False)
        api.create_repo("alice/model")
        for number in range(12):
            api.create_pull_request("alice/model", title=f"Change {number}", description="Why?")
        assert api.change_discussion_status("alice/model", 3, "closed", comment="Done.").new_status == "closed"
        api.change_discussion_status("alice/model", 4, "open")

        def numbers(**wanted: Any) -> list[int]:
            return [found.num for found in api.get_repo_discussions("alice/model", **wanted)]

        assert numbers(discussion_type="pull_request") == list(range(12, 0, -1))
        assert numbers(discussion_status="closed") == [3]
        assert numbers(discussion_status="open") == [12, 11, 10, 9, 8, 7, 6, 5, 4, 2, 1]
        details = api.get_discussion_details("alice/model", 3)
        assert (details.title, details.status, details.is_pull_request) == ("Change 2", "closed", True)
        assert [event.type for event in details.events] == ["comment", "comment", "status-change"]
        assert api.get_discussion_details("alice/model", 4).status == "open"


def test_a_title_of_two_letters_is_refused_and_nothing_is_staged(api: HfApi, repo: str, push: Push) -> None:
    with pytest.raises(BadRequestError):
        push({"a.txt": b"a"}, message="ab", create_pr=True)
    assert api.list_repo_refs(repo, include_pull_requests=True).pull_requests == []


def test_a_pull_request_that_is_not_there_is_told(api: HfApi, repo: str) -> None:
    assert status_of(lambda: api.get_discussion_details(repo, 7)) == 404

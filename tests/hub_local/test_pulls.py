"""Pull requests stage a change, and merging one never loses what came in between."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import CommitOperationDelete, HfApi
from huggingface_hub.errors import BadRequestError, HfHubHTTPError, RevisionNotFoundError

from pipeline.hub.local.server import running
from pipeline.hub.local.web import Limits

Push = Callable[..., Any]


def content(api: HfApi, repo: str, path: str, revision: str = "main") -> bytes:
    return Path(api.hf_hub_download(repo, path, revision=revision)).read_bytes()


def status_of(act: Callable[[], object]) -> int:
    with pytest.raises(HfHubHTTPError) as caught:
        act()
    return caught.value.response.status_code


def test_a_pull_request_is_invisible_on_main_until_it_is_merged(api: HfApi, repo: str, push: Push) -> None:
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

    api.merge_pull_request(repo, 1, comment="Thank you")
    details = api.get_discussion_details(repo, 1)
    assert (details.status, details.merge_commit_oid) == ("merged", api.model_info(repo).sha)
    merge = api.list_repo_commits(repo)[0]
    assert (merge.title, merge.message) == ("Add a (#1)", f"- Add a ({pull.oid})")
    assert content(api, repo, "a.txt") == b"a"


def test_a_merged_tree_is_the_one_that_was_staged_when_main_stood_still(api: HfApi, repo: str, push: Push) -> None:
    push({"a.txt": b"a", "b.bin": b"b\0", "c/d.txt": b"d"}, create_pr=True)
    api.merge_pull_request(repo, 1)
    staged, merged = (api.list_repo_tree(repo, recursive=True, revision=name) for name in ("refs/pr/1", "main"))
    assert list(staged) == list(merged)


def test_more_commits_can_be_added_to_a_pull_request_and_are_merged_as_one(api: HfApi, repo: str, push: Push) -> None:
    push({"a.txt": b"1"}, create_pr=True)
    push({"b.txt": b"2"}, revision="refs/pr/1")
    api.merge_pull_request(repo, 1)
    assert api.list_repo_files(repo) == [".gitattributes", "a.txt", "b.txt"]
    assert len(api.list_repo_commits(repo)) == 2


def test_a_merge_keeps_what_main_gained_meanwhile(api: HfApi, repo: str, push: Push) -> None:
    push({"old.txt": b"old"})
    push({"a.txt": b"a"}, create_pr=True)
    push({"b.txt": b"b"})
    api.create_commit(repo, [CommitOperationDelete("old.txt")], commit_message="Delete it")
    api.merge_pull_request(repo, 1)
    assert api.list_repo_files(repo) == [".gitattributes", "a.txt", "b.txt"]


@pytest.mark.parametrize("theirs", [{"a.txt": b"2"}, {"a.txt": None}, {"dir": b"a file"}])
def test_a_merge_over_a_file_that_main_changed_too_is_refused(
    api: HfApi, repo: str, push: Push, theirs: dict[str, bytes | None]
) -> None:
    push({"a.txt": b"0"})
    push({"a.txt": b"1", "dir/b.txt": b"b"}, create_pr=True)
    if None in theirs.values():
        api.create_commit(repo, [CommitOperationDelete("a.txt")], commit_message="Delete it")
    else:
        push(theirs)
    head = api.model_info(repo).sha

    assert api.get_discussion_details(repo, 1).conflicting_files == ["dir/b.txt" if "dir" in theirs else "a.txt"]
    assert status_of(lambda: api.merge_pull_request(repo, 1)) == 409
    assert api.model_info(repo).sha == head
    assert api.get_discussion_details(repo, 1).status == "open"


def test_the_same_change_on_both_sides_is_no_conflict(api: HfApi, repo: str, push: Push) -> None:
    push({"a.txt": b"1", "b.txt": b"1"}, create_pr=True)
    push({"a.txt": b"1"})
    api.merge_pull_request(repo, 1)
    assert api.list_repo_files(repo) == [".gitattributes", "a.txt", "b.txt"]


def test_a_pull_request_can_start_from_a_parent_that_main_has_left(api: HfApi, repo: str, push: Push) -> None:
    parent = api.model_info(repo).sha
    push({"newer.txt": b"newer"})
    pull = push({"a.txt": b"a"}, create_pr=True, parent_commit=parent)
    assert api.list_repo_commits(repo, revision="refs/pr/1")[1].commit_id == parent
    assert api.list_repo_files(repo, revision=pull.oid) == [".gitattributes", "a.txt"]
    with pytest.raises(RevisionNotFoundError):
        push({"b.txt": b"b"}, create_pr=True, parent_commit="0" * 40)


def test_a_pull_request_into_a_branch_is_merged_there(api: HfApi, repo: str, push: Push) -> None:
    head = api.model_info(repo).sha
    api.create_branch(repo, branch="dev")
    push({"a.txt": b"a"}, create_pr=True, revision="dev")
    api.merge_pull_request(repo, 1)
    assert api.list_repo_files(repo, revision="dev") == [".gitattributes", "a.txt"]
    assert api.model_info(repo).sha == head


def test_a_draft_is_opened_before_it_is_merged(api: HfApi, repo: str, push: Push) -> None:
    made = api.create_pull_request(repo, title="A plan")
    assert (made.status, made.git_reference) == ("draft", "refs/pr/1")
    push({"a.txt": b"a"}, revision="refs/pr/1")
    with pytest.raises(BadRequestError):
        api.merge_pull_request(repo, 1)
    api.change_discussion_status(repo, 1, "open")
    api.merge_pull_request(repo, 1)
    assert "a.txt" in api.list_repo_files(repo)


def test_what_is_merged_or_closed_is_not_merged_again(api: HfApi, repo: str, push: Push) -> None:
    push({"a.txt": b"a"}, create_pr=True)
    push({"b.txt": b"b"}, create_pr=True)
    api.merge_pull_request(repo, 1)
    api.change_discussion_status(repo, 2, "closed")
    for number in (1, 2):
        assert status_of(lambda number=number: api.merge_pull_request(repo, number)) == 409
    assert status_of(lambda: api.change_discussion_status(repo, 1, "open")) == 409
    assert status_of(lambda: push({"c.txt": b"c"}, revision="refs/pr/1")) == 409
    assert len(api.list_repo_commits(repo)) == 2


def test_discussions_are_opened_listed_renamed_commented_and_closed(api: HfApi, repo: str) -> None:
    api.create_discussion(repo, title="A question", description="Why?")
    api.create_pull_request(repo, title="An answer")
    assert api.comment_discussion(repo, 1, "Indeed.").content == "Indeed."
    assert api.rename_discussion(repo, 1, "The question").old_title == "A question"
    assert api.change_discussion_status(repo, 1, "closed", comment="Done.").new_status == "closed"

    assert [found.num for found in api.get_repo_discussions(repo)] == [2, 1]
    assert [found.num for found in api.get_repo_discussions(repo, discussion_type="pull_request")] == [2]
    assert [found.num for found in api.get_repo_discussions(repo, discussion_status="closed")] == [1]
    details = api.get_discussion_details(repo, 1)
    assert (details.title, details.status, details.is_pull_request) == ("The question", "closed", False)
    assert [event.type for event in details.events] == [
        "comment",
        "comment",
        "title-change",
        "comment",
        "status-change",
    ]


def test_a_long_list_of_discussions_comes_in_pages(root: Path) -> None:
    with running(root, limits=Limits(expanded_page=5)) as endpoint:
        api = HfApi(endpoint=endpoint, token=False)
        api.create_repo("alice/model")
        for number in range(12):
            api.create_discussion("alice/model", title=f"Question {number}")
        assert [found.num for found in api.get_repo_discussions("alice/model")] == list(range(12, 0, -1))


def test_a_title_of_two_letters_is_refused_and_nothing_is_staged(api: HfApi, repo: str, push: Push) -> None:
    with pytest.raises(BadRequestError):
        push({"a.txt": b"a"}, message="ab", create_pr=True)
    assert api.list_repo_refs(repo, include_pull_requests=True).pull_requests == []


def test_discussions_that_are_not_there_are_told(api: HfApi, repo: str) -> None:
    assert status_of(lambda: api.get_discussion_details(repo, 7)) == 404

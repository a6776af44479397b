"""Somebody's work in a repository outlives every release; what a release would take away ends it before it begins."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from huggingface_hub import CommitOperationDelete
from safetensors.numpy import save

from localhub.faults import Faults
from localhub.server import running
from localhub.web import Limits
from pipeline.errors import PublishError
from pipeline.events import Event, silent
from pipeline.files import manifest_of, pretty_json, write_atomically
from pipeline.hub.client import Hub
from pipeline.hub.destination import Destination
from pipeline.hub.ownership import version_at
from pipeline.hub.retry import RetryPolicy
from pipeline.release.other_work import Terms
from pipeline.release.stage import Publication, release
from pipeline.release.yank import yank
from tests.desk import Shelf

REPO = "acme/tiny"
TOKENS = {name: {"name": name, "role": "write", "orgs": ["acme"]} for name in ("alice", "bob")}
HAND_MADE = {"README.md": b"# By hand\n", "tiny.Q4.gguf": b"GGUF", "style.safetensors": b"LoRA", "images/a.png": b"png"}
FIRST = {
    "README.md": b"# One\n",
    "model_index.json": b"{}\n",
    "transformer/config.json": b"{}\n",
    "transformer/diffusion_pytorch_model.safetensors": save({"weight": np.arange(8, dtype=np.float32)}),
    "images/worst.png": b"one",
}
SECOND = {**FIRST, "README.md": b"# Two\n", "images/median.png": b"two"}
del SECOND["images/worst.png"]


@dataclass
class Town:
    """A Hub, alice who publishes by releases, and bob who commits by hand to the same repository."""

    folder: Path
    alice: Hub
    bob: Shelf
    faults: Faults

    def release(self, files: dict[str, bytes], listen: Callable[[Event], Any] = silent, **terms: bool) -> str:
        """Release files and return the tag."""
        folder = self.folder / f"build-{len(list(self.folder.iterdir()))}"
        for name, content in files.items():
            write_atomically(folder / name, content)
        write_atomically(folder / "publish/manifest.json", pretty_json(manifest_of(folder).model_dump(mode="json")))
        publication = Publication("one", "d" * 64, REPO, folder, terms=Terms(**terms))
        return release(publication, self.alice, self.folder / "aside", lambda *_: "", listen).tag

    def refusal(self, files: dict[str, bytes], **terms: bool) -> str:
        """Release what is refused with exit 8, and return what is told; nothing was changed."""
        before = self.bob.history(REPO), self.bob.tags(REPO), self.content
        with pytest.raises(PublishError) as caught:
            self.release(files, **terms)
        assert caught.value.exit_code == 8
        assert (self.bob.history(REPO), self.bob.tags(REPO), self.content) == before
        assert set(self.bob.pulls(REPO)) <= {"closed"}
        return str(caught.value)

    def commit(self, files: dict[str, bytes | None], title: str = "Change files") -> str:
        """Let bob commit to main."""
        return self.bob.commit_files(files, REPO, title)

    def listing(self, files: dict[str, bytes]) -> bytes:
        """Return main's manifest with these files listed in it as well."""
        told = json.loads(self.alice.content(REPO, "main", "publish/manifest.json", 1 << 20) or b"")
        for name, text in files.items():
            told["files"][name] = {"size": len(text), "sha256": hashlib.sha256(text).hexdigest()}
        return json.dumps(told).encode()

    @property
    def content(self) -> dict[str, bytes]:
        """What main holds, but for what a Hub and a release always write."""
        names = set(self.bob.api.list_repo_files(REPO)) - {".gitattributes", "publish/manifest.json"}
        return {name: self.alice.content(REPO, "main", name, 1 << 20) or b"" for name in names}


@pytest.fixture
def town(tmp_path: Path) -> Iterator[Town]:
    faults = Faults()
    with running(tmp_path / "hub", tokens=TOKENS, faults=faults, limits=Limits()) as endpoint:
        patience = RetryPolicy(progress=2.0, pause=0.02, longest_pause=0.1)
        shelf = Shelf(endpoint, tmp_path / "hub", "", faults)
        shelf.__dict__["api"] = Hub(endpoint, token="bob").api
        (tmp_path / "alice").mkdir()
        yield Town(tmp_path / "alice", Hub(endpoint, token="alice", patience=patience), shelf, faults)


@pytest.fixture
def hand_made(town: Town) -> Town:
    """A repository that bob filled by hand."""
    town.bob.api.create_repo(REPO)
    town.commit(HAND_MADE)
    return town


@pytest.fixture
def released(town: Town) -> Town:
    """A repository with a release."""
    assert town.release(FIRST) == "v1"
    return town


def test_a_repository_that_somebody_filled_is_not_released_into(hand_made: Town) -> None:
    told = hand_made.refusal(FIRST)
    head = hand_made.alice.state(REPO).head
    assert "It holds README.md, images/a.png, style.safetensors, tiny.Q4.gguf, which no release put there" in told
    assert f"{str(head)[:12]} ('Change files' by bob on 20" in told
    assert "`adopt: true`" in told
    assert "overwrites README.md and keeps all others" in told
    assert hand_made.content == HAND_MADE


def test_a_card_alone_is_somebodys_work(town: Town) -> None:
    town.bob.api.create_repo(REPO)
    town.commit({"README.md": b"---\nlicense: mit\n---\n"})
    assert "README.md" in town.refusal(FIRST)


def test_a_repository_that_was_only_created_is_free(town: Town) -> None:
    town.bob.api.create_repo(REPO)
    assert town.release(FIRST) == "v1"


def test_who_adopts_a_repository_keeps_its_other_files(hand_made: Town) -> None:
    assert hand_made.release(FIRST, adopt=True) == "v1"
    assert hand_made.content == {**HAND_MADE, **FIRST}
    assert hand_made.release(SECOND, adopt=True) == "v2"
    assert hand_made.content == {**HAND_MADE, **SECOND}


def test_versions_that_somebody_tagged_by_hand_are_not_ours(hand_made: Town) -> None:
    hand_made.bob.api.create_tag(REPO, tag="v1", revision="main")
    hand_made.refusal(FIRST)
    assert hand_made.release(FIRST, adopt=True) == "v2"


def test_a_file_that_somebody_added_stays_and_what_a_release_no_longer_has_goes(released: Town) -> None:
    released.commit({"tiny.Q4.gguf": b"GGUF"})
    assert released.release(SECOND) == "v2"
    assert released.content == {**SECOND, "tiny.Q4.gguf": b"GGUF"}


def test_a_card_that_somebody_edited_is_overwritten_only_on_request(released: Town) -> None:
    released.commit({"notes.md": b"mine"})
    edited = released.commit({"README.md": b"# Better\n"})
    told = released.refusal(SECOND, adopt=True)
    assert f"changed since v1: README.md in {edited[:12]} ('Change files' by bob on 20" in told
    assert "notes.md" not in told
    assert "--replace" in told
    assert released.release(SECOND, replace=True) == "v2"
    assert released.content == {**SECOND, "notes.md": b"mine"}


def test_a_file_of_ours_that_somebody_deleted_comes_back_only_on_request(released: Town) -> None:
    deleted = released.commit({"model_index.json": None})
    released.commit({"notes.md": b"mine"})
    assert f"model_index.json in {deleted[:12]}" in released.refusal(SECOND)
    assert released.release(SECOND, replace=True) == "v2"
    assert released.content == {**SECOND, "notes.md": b"mine"}


def test_what_somebody_changed_and_put_back_is_unchanged(released: Town) -> None:
    released.commit({"README.md": b"# Better\n"})
    released.commit({"README.md": FIRST["README.md"]})
    assert released.release(SECOND) == "v2"


def test_a_file_where_the_next_release_writes_one_is_overwritten_only_on_request(released: Town) -> None:
    added = released.commit({"images/median.png": b"theirs"})
    assert f"images/median.png in {added[:12]}" in released.refusal(SECOND)
    assert released.release(SECOND, replace=True) == "v2"
    assert released.content == SECOND


@pytest.mark.parametrize(
    "name",
    [
        "transformer/diffusion_pytorch_model.safetensors.index.json",
        "transformer/adapter_config.json",
        "transformer/pytorch_model.bin",
    ],
)
def test_nobodys_file_changes_what_is_loaded(released: Town, name: str) -> None:
    released.commit({name: b"{}"})
    assert f"{name} would change what from_pretrained loads" in released.refusal(SECOND, adopt=True, replace=True)


def test_nobodys_file_is_one_of_ours_on_disks_that_tell_no_case(released: Town) -> None:
    released.commit({"Model_Index.json": b"{}"})
    told = released.refusal(SECOND, adopt=True, replace=True)
    assert "'Model_Index.json' and 'model_index.json' of 'model_index.json' are one place" in told


@pytest.mark.parametrize("name", ["transformer/README.md", "transformer/diffusion_pytorch_model.fp16.safetensors"])
def test_a_file_beside_the_weights_that_nothing_loads_is_kept(released: Town, name: str) -> None:
    released.commit({name: b"theirs"})
    assert released.release(SECOND) == "v2"
    assert released.content == {**SECOND, name: b"theirs"}


def test_a_release_beneath_somebodys_commit_gets_its_tag_and_theirs_none(released: Town) -> None:
    ours = str(released.alice.state(REPO).head)
    released.bob.api.delete_tag(REPO, tag="v1")
    released.commit({"notes.md": b"mine"})
    assert released.release(FIRST) == "v1"
    assert released.alice.state(REPO).tags == {"v1": ours}


def test_a_release_that_has_its_tag_is_not_read_back_again(released: Town) -> None:
    before = len(released.faults.seen)
    assert released.release(FIRST) == "v1"
    read = [seen.path for seen in released.faults.seen[before:] if "/resolve/" in seen.path]
    assert [path for path in read if not path.endswith("publish/manifest.json")] == []


def test_a_commit_that_comes_while_a_release_is_read_back_ends_it(released: Town) -> None:
    def somebody(event: Event) -> None:
        if event.text.startswith("every byte"):
            released.commit({"notes.md": b"mine"})

    with pytest.raises(PublishError) as caught:
        released.release(SECOND, listen=somebody)
    assert caught.value.exit_code == 8
    assert "'Change files' by bob" in str(caught.value)
    assert released.content == {**FIRST, "notes.md": b"mine"}
    assert released.release(SECOND) == "v2"


def test_where_everybody_may_write_a_release_goes_on_without_a_token(tmp_path: Path) -> None:
    def leaves(event: Event) -> None:
        if event.text.startswith("every byte"):
            raise KeyboardInterrupt

    with running(tmp_path / "hub") as endpoint:
        Hub(endpoint, token="anybody").api.create_repo(REPO)
        shelf = Shelf(endpoint, tmp_path / "hub", "")
        (tmp_path / "alice").mkdir()
        town = Town(tmp_path / "alice", Hub(endpoint), shelf, shelf.faults)
        with pytest.raises(KeyboardInterrupt):
            town.release(FIRST, listen=leaves)
        assert town.release(FIRST) == "v1"
        assert shelf.pulls(REPO) == ["closed"]


def test_an_edit_of_the_same_size_under_our_title_is_somebodys(released: Town) -> None:
    title = released.bob.history(REPO)[0]
    released.commit({"README.md": FIRST["README.md"].swapcase()})
    released.bob.api.super_squash_history(REPO, commit_message=title)
    assert "README.md" in released.refusal(SECOND)


def test_what_is_to_be_private_is_not_published_where_everybody_sees_it(town: Town) -> None:
    town.bob.api.create_repo(REPO)
    place = Destination(town.alice, REPO)
    with pytest.raises(PublishError, match="The repository is public, and the recipe says `private: true`") as caught:
        place.require_private()
    assert caught.value.exit_code == 8
    town.bob.api.update_repo_settings(REPO, private=True)
    place.require_private()


def test_a_history_that_was_squashed_is_still_ours(released: Town) -> None:
    released.bob.api.super_squash_history(REPO)
    assert released.release(SECOND) == "v2"
    assert released.content == SECOND


def test_a_pull_request_that_somebody_named_like_ours_is_left_alone(released: Town) -> None:
    title = Publication("one", "d" * 64, REPO, Path()).title
    released.bob.api.create_pull_request(REPO, title=title)
    assert released.release(SECOND) == "v2"
    assert sorted(released.bob.pulls(REPO)) == ["closed", "closed", "draft"]


def test_of_a_long_history_one_page_is_read(released: Town) -> None:
    for number in range(60):
        released.commit({"notes.md": str(number).encode()})
    head = str(released.alice.state(REPO).head)
    before = len(released.faults.seen)
    assert Destination(released.alice, REPO).parent_of(head) != head
    assert "'Change files' by bob" in Destination(released.alice, REPO).described(head)
    assert len(released.faults.seen) == before + 2
    assert released.release(SECOND) == "v2"
    assert released.content == {**SECOND, "notes.md": b"59"}


OURS = "Publish one (dddddddddddd) (#9)"


@pytest.mark.parametrize("moved", [False, True])
def test_a_tag_makes_nobodys_commit_a_release(released: Town, moved: bool) -> None:
    mine = {"tiny.Q4.gguf": b"GGUF"}
    edited = released.commit({"README.md": b"# Better\n", **mine, "publish/manifest.json": released.listing(mine)})
    if moved:
        released.bob.api.delete_tag(REPO, tag="v1")
    released.bob.api.create_tag(REPO, tag="v1" if moved else "v2", revision=edited)
    assert f"README.md, publish/manifest.json in {edited[:12]}" in released.refusal(SECOND, adopt=True)
    released.release(SECOND, replace=True)
    assert released.content == {**SECOND, **mine}


def test_a_version_tag_on_a_branch_makes_no_release_of_it(released: Town) -> None:
    released.bob.api.create_branch(REPO, branch="tried")
    released.bob.api.create_commit(REPO, [CommitOperationDelete("README.md")], commit_message="Try", revision="tried")
    released.bob.api.create_tag(REPO, tag="v7", revision="tried")
    released.bob.api.super_squash_history(REPO)
    assert released.release(SECOND) == "v8"


@pytest.mark.parametrize("manifest", [b"{}", b'{"files": {"README.md": {"size": 1, "sha256": ""}}}'])
def test_a_commit_with_our_title_and_a_manifest_that_is_not_true_takes_nothing(released: Town, manifest: bytes) -> None:
    released.commit({"README.md": b"# Better\n", "publish/manifest.json": manifest}, OURS)
    assert "README.md" in released.refusal(SECOND, adopt=True)


def test_what_a_manifest_lists_and_a_release_does_not_hold_so_is_never_deleted(released: Town) -> None:
    released.commit(
        {"tiny.Q4.gguf": b"mine", "publish/manifest.json": released.listing({"tiny.Q4.gguf": b"another"})}, OURS
    )
    assert released.release(SECOND) == "v2"
    assert released.content == {**SECOND, "tiny.Q4.gguf": b"mine"}


def test_a_commit_is_no_withdrawal_by_its_title(released: Town) -> None:
    edited = released.commit({"README.md": b"# Better\n"}, "Yank v1")
    assert f"README.md in {edited[:12]}" in released.refusal(SECOND)
    more = released.commit({"publish/yanked.json": b"{}", "model_index.json": b"[]"}, "Yank v1")
    assert f"model_index.json in {more[:12]}" in released.refusal(SECOND)


def test_a_withdrawal_of_a_card_that_somebody_edited_leaves_it_theirs(released: Town) -> None:
    edited = released.commit({"README.md": b"# Better\n"})
    released.commit({"README.md": b"> withdrawn\n# Better\n", "publish/yanked.json": b"{}"}, "Yank v1")
    assert f"README.md in {edited[:12]}" in released.refusal(SECOND)


@pytest.mark.parametrize("tagged", [True, False])
def test_withdrawals_and_releases_are_found_beneath_many_commits(town: Town, tagged: bool) -> None:
    plan = {"publish/plan.json": (Path(__file__).parents[1] / "unit/released/plan-0.3.0.json").read_bytes()}
    town.release({**FIRST, **plan})
    town.release({**SECOND, **plan})
    yank(town.alice, REPO, "v2", "It draws fours.")
    if not tagged:
        town.bob.api.delete_tag(REPO, tag="v2")
    for number in range(55):
        town.commit({"notes.md": str(number).encode()})
    assert town.release({**FIRST, **plan}) == ("v3" if tagged else "v2")
    assert town.content["README.md"] == FIRST["README.md"]
    assert town.content["notes.md"] == b"54"


def test_of_two_versions_on_one_commit_the_newest_is_told() -> None:
    assert version_at({"v2": "c", "v10": "c", "v9": "c", "v11": "other", "x": "c"}, "c") == "v10"

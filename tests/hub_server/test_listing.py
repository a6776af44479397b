"""What the Hub tells about a repository is what is in it."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx2
import pytest
from huggingface_hub import HfApi, ModelCard
from huggingface_hub.errors import EntryNotFoundError, RevisionNotFoundError
from huggingface_hub.hf_api import RepoFile, RepoFolder

from localhub.server import running
from localhub.web import Limits

Push = Callable[..., Any]
CARD = b"""---
license: apache-2.0
language: [en, no]
base_model: alice/source
base_model_relation: quantized
pipeline_tag: text-to-image
library_name: diffusers
tags: [art]
released: 2026-01-02
---
# A model
"""


def names(entries: Any) -> list[str]:
    return [entry.path for entry in entries]


def test_a_tree_is_listed_by_folder_or_whole(api: HfApi, repo: str, push: Push) -> None:
    push({"a.txt": b"a", "dir/b.txt": b"b", "dir/sub/c.bin": b"c\0", "dir-2/d": b"d"})
    assert names(api.list_repo_tree(repo)) == [".gitattributes", "a.txt", "dir", "dir-2"]
    assert names(api.list_repo_tree(repo, "dir")) == ["dir/b.txt", "dir/sub"]
    assert names(api.list_repo_tree(repo, "dir", recursive=True)) == ["dir/b.txt", "dir/sub", "dir/sub/c.bin"]
    kinds = {entry.path: type(entry) for entry in api.list_repo_tree(repo, recursive=True)}
    assert (kinds["dir/sub"], kinds["dir/sub/c.bin"]) == (RepoFolder, RepoFile)
    with pytest.raises(EntryNotFoundError):
        list(api.list_repo_tree(repo, "none"))
    with pytest.raises(RevisionNotFoundError):
        list(api.list_repo_tree(repo, revision="none"))


def test_long_listings_come_in_pages_and_the_client_joins_them(root: Path) -> None:
    with running(root, limits=Limits(page=3)) as endpoint:
        api = HfApi(endpoint=endpoint, token=False)
        api.create_repo("alice/model")
        for number in range(7):
            content = b"%d" % number
            api.upload_file(path_or_fileobj=content, path_in_repo=f"dir x/{number}.txt", repo_id="alice/model")

        whole = [f"dir x/{number}.txt" for number in range(7)]
        assert names(api.list_repo_tree("alice/model", "dir x")) == whole
        assert len(api.list_repo_commits("alice/model")) == 8
        first = httpx2.get(f"{endpoint}/api/models/alice/model/tree/main", params={"recursive": "true"})
        assert len(first.json()) == 3
        assert 'rel="next"' in first.headers["Link"]


def test_paths_are_described_and_missing_ones_left_out(api: HfApi, repo: str, push: Push) -> None:
    push({"a b.txt": b"abc", "dir/m.bin": b"\0" * 9})
    text, folder, weights = api.get_paths_info(repo, ["a b.txt", "dir", "none", "dir/m.bin"])
    assert (text.size, text.lfs, folder.path) == (3, None, "dir")
    assert (weights.size, weights.lfs.size, weights.lfs.pointer_size) == (9, 9, 126)
    assert weights.lfs.sha256 == "3e7077fd2f66d689e0cee6a7cf5b37bf2dca7c979af356d0a31cbc5c85605c7d"


def test_the_card_and_the_files_tell_what_a_model_is(api: HfApi, repo: str, push: Push) -> None:
    push({"README.md": CARD, "model_index.json": b"{}", "m.safetensors": b"\0" * 9})
    info = api.model_info(repo, files_metadata=True)
    assert (info.pipeline_tag, info.library_name) == ("text-to-image", "diffusers")
    assert info.card_data.to_dict()["license"] == "apache-2.0"
    assert info.card_data.language == ["en", "no"], "YAML 1.2: Norwegian is not false"
    assert info.tags == ["art"]
    sizes = {sibling.rfilename: (sibling.size, sibling.lfs is not None) for sibling in info.siblings}
    assert sizes["README.md"] == (len(CARD), False)
    assert sizes["m.safetensors"] == (9, True)
    assert info.last_modified >= info.created_at
    assert all(sibling.size is None for sibling in api.model_info(repo).siblings)


def test_a_card_with_broken_metadata_is_refused_before_anything_is_sent(api: HfApi, repo: str, push: Push) -> None:
    for broken in (b"a: [", b"- a", b"license: {a: b}", b"tags: art"):
        with pytest.raises(ValueError, match=r"Invalid metadata in README\.md"):
            push({"README.md": b"---\n" + broken + b"\n---\n"})
    assert api.list_repo_files(repo) == [".gitattributes"]


def test_a_card_can_be_validated_in_both_manners(endpoint: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", endpoint)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ModelCard(CARD.decode()).validate()
    content = {"content": "---\ntags: art\n---\n", "repoType": "model"}
    asked = httpx2.post(f"{endpoint}/api/validate-yaml", json=content, headers={"Accept": "text/plain"})
    assert (asked.status_code, asked.text) == (400, '"tags" must be an array')

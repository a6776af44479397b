"""Ids are git's, and the same pushes give the same ids everywhere."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi

from localhub.git import pointer_text
from localhub.server import running

Push = Callable[..., Any]


def git(folder: Path, *arguments: str) -> str:
    who = {"NAME": "user", "EMAIL": "user@hub.local", "DATE": "@0 +0000"}
    people = {f"GIT_{role}_{key}": value for role in ("AUTHOR", "COMMITTER") for key, value in who.items()}
    environment = {"PATH": os.environ["PATH"], "HOME": str(folder), "GIT_CONFIG_NOSYSTEM": "1", **people}
    done = subprocess.run(["git", *arguments], cwd=folder, env=environment, check=True, capture_output=True, text=True)
    return done.stdout.strip()


def publish(root: Path) -> tuple[str, str]:
    """Push to an empty store what another machine would push too, and return where main and a pull request are."""
    with running(root) as endpoint:
        api = HfApi(endpoint=endpoint, token=False)
        api.create_repo("my-org/model")
        files = {
            "README.md": b"---\nlicense: mit\n---\n",
            "unet/model.safetensors": bytes(1000),
            "unet/a/config.json": b"{}",
        }
        operations = [CommitOperationAdd(path, content) for path, content in files.items()]
        api.create_commit("my-org/model", operations, commit_message="Upload", commit_description="All of it.")
        more = [CommitOperationAdd("picture.png", b"\x89PNG\0"), CommitOperationDelete("README.md")]
        pull = api.create_commit("my-org/model", more, commit_message="Add a picture", create_pr=True)
        return api.model_info("my-org/model").sha or "", pull.oid


def test_the_same_pushes_give_the_same_ids_in_every_store(tmp_path: Path) -> None:
    golden = ("482f68b6d2438e8c2af00f960be1b5b8a67df5cb", "bf9612327af3e0e07ac12a718e7ae0545c929f5c")
    assert publish(tmp_path / "one") == publish(tmp_path / "two") == golden


def test_a_new_repository_begins_with_the_commit_and_the_gitattributes_of_the_hub(api: HfApi, repo: str) -> None:
    assert api.model_info(repo).sha == "dcadd867b15fac22e3858005835de4d3c9eca34e"
    (first,) = api.list_repo_commits(repo)
    assert (first.title, first.authors) == ("initial commit", ["system"])
    (attributes,) = api.get_paths_info(repo, ".gitattributes")
    assert (attributes.blob_id, attributes.size) == ("a6344aac8c09253b3b630fb776ae94478aa0275b", 1519)


def test_git_computes_the_same_ids_for_blobs_trees_and_commits(
    api: HfApi, repo: str, push: Push, tmp_path: Path
) -> None:
    weights = b"\0" * 2000
    files = {"a.txt": b"a", "a-b/c.txt": b"c", "a/b/d.txt": b"d", "a0": b"zero", "ü/é.txt": "ß".encode()}
    made = push({**files, "a/m.safetensors": weights}, message="Add files", commit_description="With a body.")

    work = tmp_path / "work"
    work.mkdir()
    git(work, "init", "--quiet")
    (work / ".gitattributes").write_bytes(Path(api.hf_hub_download(repo, ".gitattributes")).read_bytes())
    git(work, "add", ".")
    git(work, "commit", "--quiet", "--message", "initial commit")
    oid = api.get_paths_info(repo, "a/m.safetensors")[0].lfs.sha256
    for path, content in {**files, "a/m.safetensors": pointer_text(oid, len(weights))}.items():
        (work / path).parent.mkdir(parents=True, exist_ok=True)
        (work / path).write_bytes(content)
    git(work, "config", "filter.lfs.clean", "cat")
    git(work, "add", ".")
    git(work, "commit", "--quiet", "--message", "Add files\n\nWith a body.")

    assert git(work, "rev-parse", "HEAD") == made.oid
    (folder,) = api.get_paths_info(repo, "a")
    assert git(work, "rev-parse", "HEAD:a") == folder.tree_id

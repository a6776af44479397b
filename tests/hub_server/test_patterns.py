"""The rules of .gitattributes mean here what they mean to git."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from localhub.gitattributes import FIRST_GITATTRIBUTES, is_binary, tracks, with_tracked

PATHS = [
    "a.bin", "dir/a.bin", "a.txt", "build/x", "sub/build/x", "build", "doc/a/b.md", "doc/b.md", "x y.txt", "[a].txt",
    "saved_model/v", "saved_model/a/b", "deep/saved_model/v", "a.tar.gz", "x.lfs.y", "tfevents.1", "keep.log", "b.log",
    "sub/keep.log", "ab.c", "a-b", "dir/sub/deep/a.txt",
]  # fmt: skip
ATTRIBUTES = [
    FIRST_GITATTRIBUTES["models"], "*.txt filter=lfs\na.txt -filter", "/a.txt filter=lfs -text\ndoc/** filter=lfs",
    "x[[:space:]]y.txt filter=lfs\n*.txt text", "*.txt filter=lfs\n*.txt filter=other",
]  # fmt: skip


def git(folder: Path, *arguments: str) -> str:
    environment = {"PATH": os.environ["PATH"], "HOME": str(folder), "GIT_CONFIG_NOSYSTEM": "1"}
    done = subprocess.run(["git", *arguments], cwd=folder, env=environment, check=False, capture_output=True, text=True)
    assert done.returncode in {0, 1}, done.stderr
    return done.stdout


@pytest.mark.parametrize("rules", ATTRIBUTES)
def test_the_same_paths_are_large_as_git_says(tmp_path: Path, rules: str) -> None:
    git(tmp_path, "init", "--quiet")
    (tmp_path / ".gitattributes").write_text(rules + "\n")
    words = git(tmp_path, "check-attr", "-z", "filter", "--", *PATHS).split("\0")
    theirs = [path for path, value in zip(words[::3], words[2::3], strict=False) if value == "lfs"]
    assert [path for path in PATHS if tracks(rules, path)] == theirs


@pytest.mark.parametrize("path", ["a.json", "dir/with space.json"])
def test_a_line_added_for_a_file_covers_it(path: str) -> None:
    assert not tracks("*.bin filter=lfs", path)
    assert tracks(with_tracked("*.bin filter=lfs", path), path)


@pytest.mark.parametrize(
    ("sample", "binary"),
    [(b"a\0b", True), (b"\x89PNG\r\n", True), (b"a" * 511 + "€".encode()[:1], False)],
)
def test_text_cut_in_the_middle_of_a_character_is_still_text(sample: bytes, binary: bool) -> None:
    assert is_binary(sample) is binary

"""What users have on their disk, a snapshot in the client's cache or a git clone, is a source like any folder."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.desk import REPO, WEIGHTS, Desk

SCHEME = ("--backend", "torchao", "--scheme", "int8-weight-only")
POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"0" * 64 + b"\nsize 1000000\n"


def clone(source: Path, folder: Path) -> Path:
    """Return a folder as a git clone has it, in which somebody downloaded with the client as well."""
    shutil.copytree(source, folder)
    (folder / ".gitattributes").write_text("*.safetensors filter=lfs diff=lfs merge=lfs -text\n")
    (folder / ".cache" / "huggingface").mkdir(parents=True)
    (folder / ".cache" / "huggingface" / "x.metadata").write_text("x\n")
    subprocess.run(["git", "init", "--quiet", folder], check=True, capture_output=True)
    return folder


def snapshot(desk: Desk) -> Path:
    return Path(desk.shelf.api.snapshot_download(REPO, revision=desk.shelf.commit, cache_dir=desk.folder / "cache"))


@pytest.mark.parametrize("kind", ["snapshot", "clone"])
def test_it_is_planned_and_quantized(desk: Desk, source: Path, kind: str) -> None:
    folder = snapshot(desk) if kind == "snapshot" else clone(source, desk.folder / "clone")
    with (folder / "original.safetensors").open("wb") as file:
        file.truncate(1 << 40)  # the whole model in one file, which no pipeline reads
    recipe = desk.recipe(source={"path": str(folder.relative_to(desk.folder))})
    done = desk.publish("run", recipe, "--stop-after", "quantize")
    assert done.code == 0, done.err
    (made,) = desk.home.glob("store/checkpoint/*")
    out = desk.folder / "out"
    done = desk.publish("quantize", folder, "--out", out, *SCHEME)
    assert done.code == 0, done.err
    for folder in (made, out):
        files = [path for path in folder.rglob("*") if not path.is_dir()]
        assert not [path for path in files if path.is_symlink()]
        assert {"model_index.json", WEIGHTS} <= {path.relative_to(folder).as_posix() for path in files}
        assert not [path for path in files if {".git", ".cache"} & set(path.relative_to(folder).parts)]
    assert (made / WEIGHTS).read_bytes() == (out / WEIGHTS).read_bytes()


@pytest.mark.parametrize("verb", ["plan", "quantize"])
@pytest.mark.parametrize("name", [WEIGHTS, "tokenizer/tokenizer.json"])
def test_a_clone_whose_large_files_were_never_pulled_says_how_to_pull_them(
    desk: Desk, source: Path, verb: str, name: str
) -> None:
    folder = clone(source, desk.folder / "clone")
    (folder / name).write_bytes(POINTER)
    recipe = desk.recipe(source={"path": "clone"})
    done = desk.publish(*(["plan", recipe] if verb == "plan" else ["quantize", folder, "--out", "out", *SCHEME]))
    assert done.code == 4, done.err
    assert done.error == (
        f"error: {folder}: {name} is not here: git LFS left a pointer to it. "
        f"Run `git -C {folder} lfs pull`, then the same command again."
    )

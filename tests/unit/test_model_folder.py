"""Which files a model's folder has: links are followed as far as they may lead, and only what is used is read."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pipeline.errors import SourceError
from pipeline.files import files_of_model, link_or_copy
from pipeline.plan.loras import on_disk
from pipeline.recipe import FolderLora, Loaded
from pipeline.source.layout import Folder
from pipeline.validate.judges import pin_of

POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"0" * 64 + b"\nsize 1000000\n"


def snapshot(cache: Path, **files: bytes) -> Path:
    """Lay files out as huggingface_hub keeps them: a snapshot of links to blobs that are named by digests."""
    folder = cache / "models--acme--tiny" / "snapshots" / ("0" * 40)
    for number, (name, content) in enumerate(files.items()):
        path = folder / name.replace("__", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        blob = cache / "models--acme--tiny" / "blobs" / f"{number:064x}"
        blob.parent.mkdir(exist_ok=True)
        blob.write_bytes(content)
        path.symlink_to(Path(os.path.relpath(blob, path.parent)))
    return folder


def test_a_snapshot_in_the_cache_has_the_files_that_its_links_name(tmp_path: Path) -> None:
    folder = snapshot(tmp_path, config__json=b"{}", model__safetensors=b"weights")
    (tmp_path / "mine").symlink_to(folder)
    for path in (folder, tmp_path / "mine"):
        assert {name: file.read_bytes() for name, file in files_of_model(path).items()} == {
            "config.json": b"{}",
            "model.safetensors": b"weights",
        }


def test_what_git_and_the_client_keep_beside_a_model_is_left_out(tmp_path: Path) -> None:
    for name in (
        ".git/HEAD",
        ".cache/huggingface/x.metadata",
        ".gitattributes",
        "vae/.gitattributes",
        "vae/config.json",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    (tmp_path / "twin.json").symlink_to("vae/config.json")
    assert list(files_of_model(tmp_path)) == ["twin.json", "vae/config.json"]


@pytest.mark.parametrize(
    ("end", "reason"),
    [
        ("../secret", "leads out of its folder, to .*/secret"),
        ("/etc/hostname", "leads out of its folder, to /etc/hostname"),
        (".git/config", "leads out of its folder"),
        ("nothing", "leads nowhere"),
        ("part", "link to a folder"),
        ("..", "leads out of its folder"),
    ],
)
def test_nothing_is_read_through_a_link_that_leads_out(tmp_path: Path, end: str, reason: str) -> None:
    folder = tmp_path / "model"
    for name in (".git/config", "part/file", "../secret"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"a token")
    (folder / "LICENSE").symlink_to(end)
    with pytest.raises(SourceError, match=reason) as caught:
        files_of_model(folder)
    assert caught.value.where == str(folder / "LICENSE")


def test_a_pipe_is_no_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(SourceError, match="neither a file nor a folder"):
        files_of_model(tmp_path)


def test_a_link_is_put_elsewhere_as_the_file_that_it_names(tmp_path: Path) -> None:
    folder = snapshot(tmp_path, config__json=b"{}")
    link_or_copy(folder / "config.json", tmp_path / "out" / "config.json")
    assert not (tmp_path / "out" / "config.json").is_symlink()
    assert (tmp_path / "out" / "config.json").read_bytes() == b"{}"


def test_only_what_is_asked_for_is_read_for_its_digest(tmp_path: Path) -> None:
    folder, memory = tmp_path / "model", tmp_path / "memory"
    folder.mkdir()
    (folder / "config.json").write_bytes(b"{}")
    with (folder / "original.safetensors").open("wb") as file:
        file.truncate(1 << 40)  # nobody reads a terabyte in a test
    place = Folder(folder, memory=memory)
    assert list(place.listed(["config.json"])) == ["config.json"]
    assert b"original" not in memory.read_bytes()


def test_a_lora_and_a_judge_may_lie_in_the_cache(tmp_path: Path) -> None:
    loaded = Loaded(None, tmp_path / "recipe.yaml", b"")  # type: ignore[arg-type]
    folder = snapshot(tmp_path, style__safetensors=b"lora", config__json=b"{}", pytorch_model__bin=b"pickle")
    for path in (folder, folder / "style.safetensors"):
        found = on_disk(FolderLora(path=str(path.relative_to(tmp_path)), how="loaded"), loaded)
        assert (found.planned.file, found.planned.listed.size) == ("style.safetensors", 4)
    pinned = pin_of(folder)
    (folder / "pytorch_model.bin").unlink()  # what no judge reads does not name it
    assert pin_of(folder) == pinned
    (folder / "config.json").resolve().write_bytes(b"[]")
    assert pin_of(folder) != pinned


def test_what_git_lfs_left_behind_is_refused_wherever_it_is_used(tmp_path: Path) -> None:
    folder = tmp_path / "a clone"
    folder.mkdir()
    (folder / "model.safetensors").write_bytes(POINTER)
    (folder / "config.json").write_bytes(b"{}")
    place = Folder(folder)
    place.require_pulled(["config.json"])
    loaded = Loaded(None, tmp_path / "recipe.yaml", b"")  # type: ignore[arg-type]
    lora = FolderLora(path="a clone", how="loaded")
    for use in (lambda: place.require_pulled(place.files), lambda: pin_of(folder), lambda: on_disk(lora, loaded)):
        with pytest.raises(SourceError, match="git LFS left a pointer") as caught:
            use()
        assert f"`git -C '{folder}' lfs pull`" in caught.value.remedy

"""Of a place, one model is looked at with what belongs to it, or one folder, and nothing else."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pipeline.errors import SourceError
from pipeline.lint.within import Within, beside
from pipeline.source.layout import Folder

SHARDS = ("m-00001-of-00002.safetensors", "m-00002-of-00002.safetensors")
INDEX = "m.safetensors.index.json"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "sub").mkdir()
    for name in (*SHARDS, "other.gguf", "n-00001-of-00001.gguf", "config.json", "sub/x.gguf"):
        (tmp_path / name).write_bytes(name.encode())
    (tmp_path / INDEX).write_text(json.dumps({"weight_map": {"a": SHARDS[0], "b": SHARDS[1]}}))
    return tmp_path


@pytest.mark.parametrize(
    ("path", "files"),
    [
        ("other.gguf", {"other.gguf", "config.json"}),
        (SHARDS[1], {*SHARDS, INDEX, "config.json"}),
        (INDEX, {*SHARDS, INDEX, "config.json"}),
        ("sub", {"x.gguf"}),
        ("sub/x.gguf", {"x.gguf"}),
    ],
)
def test_what_belongs_to_a_model_is_looked_at_with_it(path: str, files: set[str], folder: Path) -> None:
    found = Within(Folder(folder), path)
    assert set(found.files) == files
    assert found.where == str(folder / "sub" if path.startswith("sub") else folder)
    if path != "sub":
        assert Within(beside(folder / path), (folder / path).name).files == found.files
    for name in files - {INDEX}:
        assert found.read(name, 0, 99).decode().endswith(name)


def test_what_there_is_instead_is_told(folder: Path) -> None:
    with pytest.raises(SourceError) as caught:
        _ = Within(Folder(folder), "gone.gguf").files
    assert "no file or folder 'gone.gguf' in it. It has m-00001-of-00002.safetensors," in str(caught.value)

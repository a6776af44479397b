"""A file is read for its digest once, and again when anything about it changed."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from blake3 import blake3

from pipeline.errors import SourceError
from pipeline.files import hashed, sha256_file
from pipeline.source.layout import Folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "folder"
    (made / "part").mkdir(parents=True)
    (made / "part" / "a").write_bytes(b"a" * 10_000)
    (made / "b").write_bytes(b"")
    return made


def found(folder: Path, memory: Path | None) -> dict[str, str | None]:
    place = Folder(folder, memory=memory)
    return {name: file.blake3 for name, file in place.listed(place.files).items()}


def test_digests_are_those_of_the_files(folder: Path, tmp_path: Path) -> None:
    want = {name: hashed(folder / name, blake3())[0] for name in ("b", "part/a")}
    assert found(folder, None) == want
    assert [found(folder, tmp_path / "memory") for _ in range(2)] == [want, want]


def test_a_file_is_not_read_again_until_it_changes(folder: Path, tmp_path: Path) -> None:
    memory, path = tmp_path / "memory", folder / "part" / "a"
    before = found(folder, memory)
    memory.write_bytes(memory.read_bytes().replace(str(before["b"]).encode(), b"0" * 64))
    assert found(folder, memory)["b"] == "0" * 64  # what was remembered is believed
    state = path.stat()
    path.write_bytes(b"b" * 10_000)
    os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))  # same size, same time of change
    assert found(folder, memory)["part/a"] == hashed(path, blake3())[0]


@pytest.mark.parametrize("content", ["{", "[]", "null", '{"blake3": 1}'])
def test_a_memory_that_cannot_be_read_is_made_anew(folder: Path, tmp_path: Path, content: str) -> None:
    (tmp_path / "memory").write_text(content)
    assert found(folder, tmp_path / "memory") == found(folder, None)


def test_digests_of_another_kind_are_not_taken_for_these(folder: Path, tmp_path: Path) -> None:
    memory, path = tmp_path / "memory", folder / "b"
    state = path.stat()
    stamp = [state.st_size, state.st_mtime_ns, state.st_ctime_ns, state.st_ino]
    memory.write_text(json.dumps({"b": [*stamp, sha256_file(path)]}))
    assert found(folder, memory) == found(folder, None)


def test_a_folder_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="no such folder"):
        Folder(tmp_path / "none", memory=tmp_path / "memory")

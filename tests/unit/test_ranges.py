"""Large ranges of a file are what small reads of it say, from the disk and from the page cache."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.source.disk import PAGE, Forward, memory
from pipeline.source.layout import Folder

SIZE = 5 * PAGE + 77


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Folder:
    """Return a folder of one file, which is on the disk."""
    path = tmp_path_factory.mktemp("ranges")
    with (path / "x").open("wb") as file:
        file.write(os.urandom(SIZE))
        file.flush()
        os.fsync(file.fileno())
    return Folder(path)


@settings(deadline=None, max_examples=60)
@given(offset=st.integers(0, SIZE + PAGE), length=st.integers(0, SIZE + PAGE), cached=st.booleans())
def test_a_large_range_is_what_a_small_one_is(folder: Folder, offset: int, length: int, cached: bool) -> None:
    if not cached:
        forget(folder.path / "x")
    found = folder.read_large("x", offset, length, memory(Forward.room(length)))
    assert bytes(found) == folder.read("x", offset, length)


def forget(path: Path) -> None:
    """Have the page cache let go of a file."""
    file = os.open(path, os.O_RDONLY)
    os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED)
    os.close(file)

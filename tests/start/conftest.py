"""Where a newcomer sits: a folder with nothing in it, a token, and a Hub that has a model."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.desk import Desk, Shelf, home_in, opened


@pytest.fixture
def desk(stocked: Shelf, answers: Path, tmp_path: Path) -> Iterator[Desk]:
    shutil.copytree(stocked.root, tmp_path / "hub", symlinks=True)
    (tmp_path / "desk").mkdir()
    with opened(tmp_path / "hub", stocked) as shelf:
        yield Desk(tmp_path / "desk", shelf, home_in(tmp_path, answers))

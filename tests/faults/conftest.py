"""A user for each test, with copies of a Hub and a home that it may break."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.desk import Desk, Shelf, opened, seat

GOLDEN = Path(__file__).parent / "golden"


@pytest.fixture
def shelf(stocked: Shelf, tmp_path: Path) -> Iterator[Shelf]:
    shutil.copytree(stocked.root, tmp_path / "hub", symlinks=True)
    with opened(tmp_path / "hub", stocked) as running_shelf:
        yield running_shelf


@pytest.fixture
def desk(shelf: Shelf, answers: Path, tmp_path: Path) -> Desk:
    return seat(tmp_path, shelf, answers)


@pytest.fixture
def ready_desk(desk: Desk, ready: Path) -> Desk:
    """A user whose target ``one`` only waits for its release."""
    shutil.rmtree(desk.home)
    shutil.copytree(ready, desk.home)
    return desk


Same = Callable[[str, str], None]


@pytest.fixture
def same() -> Same:
    """Compare a paragraph with its golden file; QUANTPRESS_GOLDEN=write writes it, to be read before it is kept."""

    def compare(name: str, text: str) -> None:
        path = GOLDEN / f"{name}.txt"
        if os.environ.get("QUANTPRESS_GOLDEN") == "write":
            path.write_text(f"{text}\n")
        assert "\n" not in text
        assert text == path.read_text().rstrip("\n")

    return compare

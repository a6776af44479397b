"""Where the users of other tasks than text to image sit."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.desk import Desk, Shelf, desk_in


@pytest.fixture
def desk(stocked: Shelf, answers: Path, tmp_path: Path) -> Iterator[Desk]:
    with desk_in(tmp_path, stocked, answers) as found:
        yield found

"""Models in every format, made once for all tests of this folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.desk import once
from tests.lint.models import MADE


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of folders, one a format, and the base."""

    def make(folder: Path) -> None:
        for name, write in MADE.items():
            write(folder / name)

    return once(tmp_path_factory, "lint-models", make)

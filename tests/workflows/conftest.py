"""The scripts of `.github/`, as modules."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

SCRIPTS = Path(__file__).parents[2] / ".github"


@pytest.fixture
def scripts(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Return what imports a script by its name; no other test finds them afterwards."""
    before = {*sys.modules}
    monkeypatch.syspath_prepend(str(SCRIPTS))
    yield importlib.import_module
    for name in {path.stem for path in SCRIPTS.glob("*.py")} - before:
        sys.modules.pop(name, None)

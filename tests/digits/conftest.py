"""The modules beside the digits recipe are scripts, not a package: the tests import them as the scripts do."""

import sys
from pathlib import Path

import pytest

from tests.tasks.conftest import desk

__all__ = ["desk"]

DIGITS = Path(__file__).parents[2] / "recipes" / "digits"
sys.path.insert(0, str(DIGITS))


@pytest.fixture(scope="session")
def digits() -> Path:
    """The folder of the recipe."""
    return DIGITS

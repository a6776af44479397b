"""Where somebody sits who tries a recipe."""

from tests.tasks.conftest import desk

__all__ = ["desk"]

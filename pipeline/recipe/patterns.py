"""Patterns: names of modules, or globs of them; each names what is in a module, too."""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

ANYTHING: Final = ("", "\0", "\0\0")  # what a star may stand for: nothing, one sign that no glob has, or several


def covered(pattern: str, others: Iterable[str]) -> bool:
    """Tell whether one of other patterns names all that a pattern does; not all of which this is so are told."""
    samples = [pattern.replace("?", "\0").replace("*", anything) for anything in ANYTHING]
    return any(
        all(fnmatchcase(sample, other) or fnmatchcase(sample, f"{other}.*") for sample in samples) or pattern == other
        for other in others
    )

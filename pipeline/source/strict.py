"""JSON of a source: somebody else's text, of which only that is taken which can be written again as JSON."""

from __future__ import annotations

import json
from math import isfinite
from typing import Any, Final

from pipeline.errors import SourceError

WHOLE: Final = "Ask the source's publisher for a whole one, or pin a commit that has it."
DEEPEST: Final = 64  # levels; what hashes, checks and writes the value later goes as deep by recursion


def parse(text: bytes, *, twice: bool = True) -> Any:
    r"""Return the value of a JSON text in UTF-8.

    Python's reader also takes NaN and Infinity, numbers beyond 64 bits of floating point, and halves of characters
    (``"\ud800"``). None of them can be written again, or hashed, so they would end a run far from their place.

    Args:
        text: The text.
        twice: Whether a name may stand in an object twice; the last one counts.

    Raises:
        ValueError: It is no such text.
    """
    pairs = None if twice else _without_duplicates
    try:
        whole = text.decode()
        value = json.loads(whole, object_pairs_hook=pairs, parse_constant=_finite, parse_float=_finite)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
    if "\\ud" in whole.lower():
        json.dumps(value, ensure_ascii=False).encode()  # raises where an escape is half a character
    return value


def require_shallow(value: Any, deepest: int = DEEPEST) -> None:
    """Refuse a value that is nested too deeply.

    Raises:
        ValueError: It is.
    """
    inside = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    if not deepest:
        raise ValueError(f"it is nested more than {DEEPEST} levels deep")
    for part in inside:
        require_shallow(part, deepest - 1)


def read_index(content: bytes, where: str) -> dict[str, str]:
    """Read which file of a sharded component holds which tensor.

    Raises:
        SourceError: The index is no such mapping.
    """
    try:
        weight_map = (said := parse(content))["weight_map"]
        require_shallow(said)
        honest = all(isinstance(file, str) for file in weight_map.values())
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise SourceError("This index of shards is not readable.", where=where, remedy=WHOLE) from error
    if not honest:
        raise SourceError("This index names something that is no file.", where=where, remedy=WHOLE)
    return dict(weight_map)


def _finite(text: str) -> float:
    """Return a number, unless it is none or none that a float can hold."""
    if not isfinite(number := float(text)):
        raise ValueError(f"{text[:20]} is no number of JSON that can be kept")
    return number


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Refuse an object that says something twice."""
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name stands there twice")
    return found

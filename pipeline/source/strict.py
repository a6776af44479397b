"""JSON of a source: somebody else's text, of which only that is taken which can be written again as JSON."""

from __future__ import annotations

import json
from math import isfinite
from typing import Any, Final

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

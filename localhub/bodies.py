"""Reading what clients send as JSON, so that every text of it can be written again."""

from __future__ import annotations

import json
from typing import Any

from localhub.refusals import bad_request

_DIGITS = 15  # more than anything counted here; far longer texts would take long to read as numbers


def number_in(text: str) -> int | None:
    """Return the number that a part of an address is, or nothing."""
    return int(text) if text.isascii() and text.isdecimal() and len(text) <= _DIGITS else None


def parsed(content: bytes) -> Any:
    """Return the value of a JSON text.

    Raises:
        RefusedError: 400 when it is no JSON, is nested beyond reason, or escapes half of a surrogate pair, which JSON
            can spell and UTF-8 cannot.
    """
    try:
        value = json.loads(content)
        if b"\\ud" in content.lower():
            json.dumps(value, ensure_ascii=False).encode()
    except (ValueError, RecursionError) as error:
        raise bad_request("The body is not valid JSON.") from error
    return value

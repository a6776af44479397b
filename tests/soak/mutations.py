"""Values that nobody expects, and ways to spoil a text, a JSON document or bytes, all drawn from one generator."""

from __future__ import annotations

import copy
import json
from random import Random
from typing import Any

RAW = {  # words for JSON that Python does not write
    "\x01deep": "[" * 100_000 + "]" * 100_000,
    "\x01less deep": '{"a": [' * 450 + "]}" * 450,
    "\x01long number": "9" * 5000,
    "\x01wide": "1e999",
}
PATHS = ("../../outside", "/etc/passwd", "a/../../b", "C:\\x", ".", "", "a\0b", "a\nb", ".git/config", "CON", "a/./b")
TEXTS = (*PATHS, " ", "main", "\ud800", "\u202e", "é", "\x1b[2J", "x" * 70_000, "{{ 7 * 7 }}", "%s%n", "null", "0")
NUMBERS = (0, 1, -1, 2**31, 2**53 + 1, 2**63, 2**64, 10**30, -(10**30), 1.5, -0.0, float("nan"), float("inf"))
ADDRESSES = (
    "local:///tmp/x",
    "file:///etc/passwd",
    "ftp://127.0.0.1/x",
    "http://[",
    "http://127.0.0.1:1/x",
    "//",
    "x:",
)
SHAPES: tuple[Any, ...] = ([], {}, [None], [[]], {"a": None}, {"": ""}, [0] * 1000, [{}], *RAW)


def junk(rng: Random) -> Any:
    """Return a value of any JSON type."""
    kinds: tuple[tuple[Any, ...], ...] = ((None,), (True, False), NUMBERS, TEXTS, ADDRESSES, SHAPES)
    return copy.deepcopy(rng.choice(rng.choice(kinds)))


def spots(value: Any) -> list[tuple[Any, Any]]:
    """Return every place of a document: what holds it, and its key there."""
    keys = value if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    return [(value, key) for key in keys] + [spot for key in keys for spot in spots(value[key])]


def changed(document: Any, rng: Random) -> Any:
    """Return a document with one place of it changed."""
    document = copy.deepcopy(document)
    found = spots(document)
    if not found or rng.random() < 0.05:
        return junk(rng)
    holder, key = rng.choice(found)
    rng.choice((replace, replace, near, drop, swap, add))(holder, key, rng)
    return document


def replace(holder: Any, key: Any, rng: Random) -> None:
    """Put something else there."""
    holder[key] = junk(rng)


def near(holder: Any, key: Any, rng: Random) -> None:
    """Put nearly the same there, or the same in another type."""
    value = holder[key]
    if isinstance(value, bool) or value is None:
        holder[key] = str(value)
    elif isinstance(value, int):
        holder[key] = rng.choice((value + 1, value - 1, -value, value * 2, str(value), float(value), [value], True))
    elif isinstance(value, str) and value:
        at = rng.randrange(len(value))
        holder[key] = rng.choice((value[:at], value + value, value[:at] + rng.choice("0aZ/.\n") + value[at + 1 :]))
    else:
        holder[key] = [value]


def drop(holder: Any, key: Any, rng: Random) -> None:
    """Leave it out."""
    del holder[key]


def swap(holder: Any, key: Any, rng: Random) -> None:
    """Put there what lies elsewhere beside it."""
    other = rng.choice(list(holder) if isinstance(holder, dict) else range(len(holder)))
    holder[key], holder[other] = holder[other], holder[key]


def add(holder: Any, key: Any, rng: Random) -> None:
    """Put something beside it."""
    if isinstance(holder, dict):
        holder[rng.choice(TEXTS)] = rng.choice((junk(rng), holder[key]))
    else:
        holder.insert(key, rng.choice((junk(rng), holder[key])))


def written(document: Any, rng: Random) -> bytes:
    """Return JSON as a careless or malicious program writes it."""
    text = json.dumps(document, ensure_ascii=rng.random() < 0.5)
    for word, raw in RAW.items():
        text = text.replace(json.dumps(word), raw)
    if rng.random() < 0.05:  # every name twice
        text = text.replace('": ', '": 0, "x": ') if rng.random() < 0.5 else text.replace("{", '{"a": 1, "a": 2, ')
    return text.encode("utf-8", "surrogatepass")


def scrambled(content: bytes, rng: Random) -> bytes:
    """Return bytes of which some are others, gone, doubled or new."""
    for _ in range(rng.choice((1, 1, 2, 8))):
        at, more = rng.randrange(len(content) + 1), rng.choice((1, 1, 4, 40, 4000))
        new = rng.choice((b"", rng.randbytes(more), content[at : at + more] * 2, bytes(more)))
        content = content[:at] + new + content[at + rng.choice((0, len(new), more)) :]
    return content

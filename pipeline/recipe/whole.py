"""A recipe's tree as text again: one that includes others is published as what it says with them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Final

from pipeline.recipe.nodes import Node, meaning

WIDEST: Final = 110  # characters of a line
PLAIN: Final = re.compile(r"[A-Za-z_][\w./-]*")
HEAD: Final = "# The recipe with the words of the files that it includes in their places.\n"


def whole(root: Node) -> bytes:
    """Return a text that says what a recipe does, and includes nothing."""
    return "".join([HEAD, *(f"{line}\n" for line in _block(root, ""))]).encode()


def _block(node: Node, indent: str) -> Iterator[str]:
    """Yield a mapping's entries: what is short below the top in one line, all else as a block."""
    for word, entry in node.value.items() if isinstance(node.value, dict) else ():
        line = f"{indent}{plain_or_json(word)}: {_flow(entry)}"
        if not isinstance(entry.value, dict | list) or not entry.value or (indent and len(line) <= WIDEST):
            yield line
        else:
            yield f"{indent}{plain_or_json(word)}:"
            yield from _block(entry, f"{indent}  ")
            yield from (f"{indent}  - {_flow(item)}" for item in entry.value if isinstance(item, Node))


def _flow(node: Node) -> str:
    """Return a node in one line."""
    if isinstance(node.value, dict):
        return "{" + ", ".join(f"{plain_or_json(word)}: {_flow(entry)}" for word, entry in node.value.items()) + "}"
    if isinstance(node.value, list):
        return "[" + ", ".join(map(_flow, node.value)) + "]"
    return plain_or_json(node.value) if isinstance(node.value, str) else node.text or "null"


def plain_or_json(text: str) -> str:
    """Return a text as YAML: as it is where it is a plain word that means nothing else, and as JSON otherwise."""
    if PLAIN.fullmatch(text) and isinstance(meaning(text), str):
        return text
    return json.dumps(text, ensure_ascii=not text.isprintable())  # line breaks that only YAML knows would be folded

"""Truth: what readers see of a card is read again, and each number in it must be one that report and plan know."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Final, NamedTuple

from markdown_it import MarkdownIt
from markdown_it.tree import SyntaxTreeNode
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from pipeline.card.allowed_numbers import ROLES, AllowedNumbers
from pipeline.errors import CardError

RULE: Final = "---\n"  # above and below the metadata
AROUND: Final = "()[]{}<>\"'“”,;:.!?*|/="

Cells = Sequence[tuple[str, str]]
"""A paragraph or a row: its texts, each with what stands above it in its column. What is named holds to its end."""


class UnsupportedNumber(NamedTuple):
    """A number of a card that nothing supports, and the line that has it."""

    line: int
    shown: str


class Token(NamedTuple):
    """A word of a text, or a known text as a whole, and how many lines are above it."""

    line: int
    text: str
    known: bool


def require_true(card: str, known: AllowedNumbers) -> None:
    """Refuse a card with a number that nothing supports.

    Raises:
        CardError: It names the number and its line.
    """
    if found := untrue(card, known):
        others = f", and {len(found) - 1} more are none" if len(found) > 1 else ""
        raise CardError(
            f"The card says {found[0].shown!r}, which is no number of its report or plan{others}.",
            where=f"README.md:{found[0].line}",
            remedy="A template shows what was measured, behind the name of what it is of: a measurement with a decimal "
            "point, a count with its noun right behind it.",
        )


def untrue(card: str, known: AllowedNumbers) -> list[UnsupportedNumber]:
    """Return the numbers of a card that nothing supports, in the order of its lines.

    Args:
        card: The README with its metadata.
        known: What it may say.
    """
    head, body = split(card)
    lines = head.splitlines()
    found = []
    for cells in mappings(head):
        told = [word for _, word in unknown(cells, known)]
        found += [
            UnsupportedNumber(next(at for at, line in enumerate([*lines, word], 2) if word in line), word)
            for word in told
        ]
    above = len(lines) + (2 if head else 0)
    for line, cells in pieces(body):
        found += [UnsupportedNumber(above + line + below, word) for below, word in unknown(cells, known)]
    return sorted(found, key=lambda one: one.line)


def split(card: str) -> tuple[str, str]:
    """Return the metadata of a card and its body."""
    if not card.startswith(RULE):
        return "", card
    head, _, body = card.removeprefix(RULE).partition(f"\n{RULE}")
    return head, body


def unknown(cells: Cells, known: AllowedNumbers) -> Iterator[UnsupportedNumber]:
    """Return the words of a piece that have digits and are not known; their lines are counted from 0."""
    name = ""
    for above, text in cells:
        role = next((word for word in ROLES if word in above.split()), "")
        read = tokens(text, known)
        words = ["", *(token.text.strip(AROUND) for token in read), ""]
        for token, before, shown, after in zip(read, words, words[1:], words[2:], strict=False):
            if token.known:
                name, role = (token.text, "") if token.text in known.names else (name, role)
                role = token.text if token.text in ROLES else role
            elif any(char.isdigit() for char in shown):
                behind = after if token.text.endswith(shown) else ""  # behind a comma begins something else
                if not known.has(name, role, (shown, before, behind)):
                    yield UnsupportedNumber(token.line, shown)


def tokens(text: str, known: AllowedNumbers) -> list[Token]:
    """Split a text into what is known of it and the words between."""
    found, line = [], 0
    for at, part in enumerate(known.texts.split(text)):
        if at % 2:
            found.append(Token(line, " ".join(part.split()), known=True))
        else:
            rows = enumerate(part.split("\n"), line)
            found += [Token(row, word, known=False) for row, words in rows for word in words.split()]
        line += part.count("\n")
    return found


def pieces(body: str) -> Iterator[tuple[int, Cells]]:
    """Return what readers see of a card, each piece with its line; addresses behind links are not seen."""
    tree = SyntaxTreeNode(MarkdownIt("commonmark", {"html": False}).enable("table").parse(body))
    for node in tree.walk():
        if node.type == "tr":
            yield line_of(node), list(zip(heads_of(node), map(seen, node.children), strict=False))
        elif node.type in {"fence", "code_block"}:
            yield line_of(node) + (node.type == "fence"), [("", node.content)]
        elif node.type == "inline" and node.parent and node.parent.type not in {"th", "td"}:
            yield line_of(node), [("", seen(node))]


def line_of(node: SyntaxTreeNode) -> int:
    """Return the first line of a part of a card, from 1."""
    return node.map[0] + 1 if node.map else 1


def heads_of(row: SyntaxTreeNode) -> list[str]:
    """Return what stands above the cells of a row."""
    table = row.parent.parent if row.parent else None
    return [seen(cell) for cell in table.children[0].children[0].children] if table else []


def seen(node: SyntaxTreeNode) -> str:
    """Return what is seen of a part of a card; of a picture what stands in for it."""
    if node.type in {"softbreak", "hardbreak"}:
        return "\n"
    return (
        "".join(map(seen, node.children))
        if node.children
        else f"{node.content} "
        if node.type == "image"
        else node.content
    )


def mappings(block: str) -> Iterator[Cells]:
    """Return the values of every mapping in a card's metadata, and of every list."""
    try:
        found = YAML(typ="safe", pure=True).load(block)
    except YAMLError:
        found = block.splitlines()
    left = [found]
    while left:
        value = left.pop()
        inner = list(value.values() if isinstance(value, Mapping) else value if isinstance(value, list) else [value])
        yield [("", str(one)) for one in inner if not isinstance(one, Mapping | list)]
        left += [one for one in inner if isinstance(one, Mapping | list)]

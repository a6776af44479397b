"""Truth: what readers see of a card is read again, and each number in it must be known from report or plan."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from markdown_it import MarkdownIt
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from pipeline.errors import CardError
from pipeline.stages.known import Known

RULE: Final = "---\n"  # above and below the metadata
AROUND: Final = "()[]{}<>\"'“”,;:.!?*|/="
GONE: Final = "\N{OBJECT REPLACEMENT CHARACTER}"  # stands where a known text stood


@dataclass(frozen=True)
class Untrue:
    """A number of a card that nothing supports, and the line that has it."""

    line: int
    shown: str


def require_true(card: str, known: Known) -> None:
    """Refuse a card with a number that nothing supports.

    Raises:
        CardError: It names the number and its line.
    """
    if found := untrue(card, known):
        others = f", and {len(found) - 1} more are none" if len(found) > 1 else ""
        raise CardError(
            f"The card says {found[0].shown!r}, which is no number of its report or plan{others}.",
            where=f"README.md:{found[0].line}",
            remedy="A template shows what was measured: a measurement with a decimal point, a count with its noun "
            "right behind it.",
        )


def untrue(card: str, known: Known) -> list[Untrue]:
    """Return the numbers of a card that nothing supports, in the order of its lines.

    Args:
        card: The README with its metadata.
        known: What it may say.
    """
    head, body = split(card)
    above = head.count("\n") + (2 if head else 0)
    found = [Untrue(line, word) for line, text in metadata_texts(head) for _, word in unknown(text, known)]
    for line, text in visible(body):
        found += [Untrue(above + line + at, word) for at, word in unknown(text, known)]
    return found


def split(card: str) -> tuple[str, str]:
    """Return the metadata of a card and its body."""
    if not card.startswith(RULE):
        return "", card
    head, _, body = card.removeprefix(RULE).partition(f"\n{RULE}")
    return f"{head}\n", body


def unknown(text: str, known: Known) -> Iterator[tuple[int, str]]:
    """Return the words of a text that have digits and are not known, each with how many lines are above it."""
    left = known.texts.sub(lambda found: GONE + "\n" * found[0].count("\n"), text)
    words = [(at, word) for at, line in enumerate(left.split("\n")) for word in line.split()]
    bare = ["", *(word.strip(AROUND) for _, word in words), ""]
    for (at, word), before, shown, after in zip(words, bare, bare[1:], bare[2:], strict=False):
        unit = after if word.endswith(shown) else ""  # behind a comma begins something else
        if any(char.isdigit() for char in shown) and not known.has(shown, before, unit):
            yield at, shown


def visible(body: str) -> Iterator[tuple[int, str]]:
    """Return the texts that readers see, each with its first line; addresses behind links are not seen."""
    line = 1
    for token in MarkdownIt("commonmark", {"html": False}).enable("table").parse(body):
        line = token.map[0] + 1 if token.map else line
        if token.type == "fence":
            yield line + 1, token.content
        elif token.type == "inline":
            yield line, "".join(map(seen, token.children or ()))
        elif token.content:
            yield line, token.content


def seen(token: Any) -> str:
    """Return what is seen of a part of a paragraph; of a picture what stands in for it."""
    if token.type in {"softbreak", "hardbreak"}:
        return "\n"
    return f" {token.content} " if token.type == "image" else str(token.content)


def metadata_texts(block: str) -> Iterator[tuple[int, str]]:
    """Return the values of a card's metadata, each with the first line that has it."""
    lines = block.splitlines()
    try:
        found = YAML(typ="safe", pure=True).load(block)
    except YAMLError:
        found = lines
    for value in map(str, scalars(found)):
        yield next((at for at, line in enumerate(lines, 2) if value in line), 1), value


def scalars(value: Any) -> Iterator[Any]:
    """Return the values of a tree that have no others in them."""
    if isinstance(value, Mapping):
        for inner in value.values():
            yield from scalars(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from scalars(inner)
    elif value is not None:
        yield value

"""YAML to a tree, without meaning: one document of plain mappings, lists and scalars.

The tree is built from the parser's events, one pass, so that every word keeps its place and its spelling, and so that
nothing is expanded. Anchors, aliases, merge keys and tags are refused: a reviewer reads a target where it stands, a
problem has one place, and a file cannot unfold into something larger than itself.
"""

from __future__ import annotations

import re
import unicodedata
from typing import TYPE_CHECKING, Any

from ruamel.yaml import YAML, events
from ruamel.yaml.error import MarkedYAMLError

from pipeline.recipe.nodes import Mapping, Node, Page, Place, Scalar, Sequence, Unreadable
from pipeline.recipe.syntax import report_syntax

if TYPE_CHECKING:
    from collections.abc import Iterator

DEEPEST = 16  # levels of nesting; a recipe needs six
_CONTROL = re.compile(r"[^\t\n\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


class _StopReadingError(Exception):
    """What follows cannot be read; the reason is reported."""


def parse(page: Page) -> Node | None:
    """Read a page as one YAML 1.2 document.

    Returns:
        The tree, or None where the page has none; the page then has a problem that says why.

    """
    if control := _CONTROL.search(page.text):
        name = unicodedata.name(control[0], f"U+{ord(control[0]):04X}")
        page.report(_place_at(page, control.start()), f"a control character ({name}) does not belong in a recipe")
        return None
    try:
        return _Tree(page).document()
    except _StopReadingError:
        return None
    except MarkedYAMLError as error:
        report_syntax(page, error)
        return None


def _place_at(page: Page, index: int) -> Place:
    before = page.text[:index]
    return Place(before.count("\n") + 1, index - before.rfind("\n"))


class _Tree:
    """Builds the tree of one page from the parser's events."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.aliases: set[str] = set()  # each is told once
        # Any: ruamel declares an event's attributes in __slots__ of its subclasses only.
        self.events: Iterator[Any] = YAML(typ="safe", pure=True).parse(page.text)

    def document(self) -> Node | None:
        next(self.events)  # the stream's start
        start = next(self.events)
        if isinstance(start, events.StreamEndEvent):
            return None
        if start.version and tuple(start.version) != (1, 2):
            line = next(number for number, line in enumerate(self.page.lines, 1) if line.startswith("%YAML"))
            self.page.report(Place(line), "recipes are read as YAML 1.2; remove this line")
        node = self.node(next(self.events), None, 0)
        next(self.events)  # the document's end
        after = next(self.events)
        if isinstance(after, events.DocumentStartEvent):
            self.page.report(_place(after), "a second YAML document starts here; a recipe is one document")
            raise _StopReadingError  # what is missing in the first one stands in the second
        return node

    def node(self, event: Any, key: Scalar | None, depth: int) -> Node:
        """Build one node; a collection and an empty value stand at their key."""
        place = _place(event)
        at = key.place if key else place
        if depth > DEEPEST:
            self.page.report(place, f"nested more than {DEEPEST} levels deep; no recipe is")
            raise _StopReadingError
        if isinstance(event, events.AliasEvent):
            if event.anchor not in self.aliases:
                self.page.report(place, f"'*{event.anchor}' is a YAML alias; write the value out, or quote the text")
            self.aliases.add(event.anchor)
            return Unreadable(place)
        self.refuse_marks(event, place)
        if isinstance(event, events.MappingStartEvent):
            return Mapping(at, self.entries(depth))
        if isinstance(event, events.SequenceStartEvent):
            return Sequence(at, tuple(self.node(item, None, depth + 1) for item in self.until_end()))
        return self.scalar(event, place if event.value else at)

    def refuse_marks(self, event: Any, place: Place) -> None:
        """Report an anchor or a tag."""
        if event.anchor is not None:
            self.page.report(place, f"'&{event.anchor}' is a YAML anchor; recipes have no aliases, so remove it")
        if event.tag is not None:
            tag = event.tag.replace("tag:yaml.org,2002:", "!!")
            self.page.report(place, f"'{tag}' is a YAML tag; remove it, and quote what must stay text")

    def scalar(self, event: Any, place: Place) -> Node:
        # JSON spells one character as two escapes, and YAML takes JSON; ruamel.yaml 0.19 leaves the halves apart.
        text = str(event.value).encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
        if "\ufffd" in text or _CONTROL.search(text):  # half a character, or an escape such as "\0"
            self.page.report(place, f"{event.value!r} has a character that is no text")
            return Unreadable(place)
        return Scalar(place, text, plain=event.style is None)

    def until_end(self) -> Iterator[Any]:
        """Yield the first event of each node up to the end of the collection."""
        for event in self.events:
            if isinstance(event, events.CollectionEndEvent):
                return
            yield event

    def entries(self, depth: int) -> tuple[tuple[Scalar, Node], ...]:
        """Build a mapping's entries without those whose key is unusable; of a duplicate the first one stays."""
        kept: dict[str, tuple[Scalar, Node]] = {}
        for event in self.until_end():
            key = self.node(event, None, depth + 1)
            known = len(self.page.problems)
            value = self.node(next(self.events), key if isinstance(key, Scalar) else None, depth + 1)
            if not isinstance(key, Scalar):
                self.refuse_key(key)
            elif key.text == "<<" and key.plain:
                del self.page.problems[known:]  # the alias behind it is the same mistake
                self.page.report(key.place, "'<<' merges another mapping in; write its keys out here")
            elif key.text in kept:
                first = kept[key.text][0].place.line
                self.page.report(key.place, f"duplicate key '{key.text}'; the first is in line {first}")
            else:
                kept[key.text] = (key, value)
        return tuple(kept.values())

    def refuse_key(self, key: Node) -> None:
        if not isinstance(key, Unreadable):
            self.page.report(key.place, "a key must be one word; text with braces or brackets needs quotes")


def _place(event: Any) -> Place:
    start, end = event.start_mark, event.end_mark
    collection = isinstance(event, events.CollectionStartEvent)
    width = end.column - start.column if end.line == start.line and not collection else 1
    return Place(start.line + 1, start.column + 1, max(1, width))

"""YAML to a tree, without meaning: one document of plain mappings, lists and scalars.

The tree is built from the parser's events, one pass, so that every word keeps its place and its spelling. An alias is
the node that its anchor marks, with that one's place; ``<<`` merges as https://yaml.org/type/merge.html says. What both
unfold into is counted, so that a small file cannot become a large recipe. Tags are refused.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ruamel.yaml import YAML, events
from ruamel.yaml.error import MarkedYAMLError

from pipeline.recipe.nodes import Mapping, Node, Page, Place, Scalar, Sequence, Unreadable, describe
from pipeline.recipe.syntax import report_syntax

if TYPE_CHECKING:
    from collections.abc import Iterator

DEEPEST = 16  # levels of nesting; a recipe needs six
MOST_NODES = 20_000  # of a recipe with every alias followed; a hundred targets need a few thousand
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


@dataclass(frozen=True)
class _Anchored:
    """What an anchor marks: the node, how many nodes it unfolds into, and how many levels lie below it."""

    node: Node
    nodes: int
    height: int


class _Tree:
    """Builds the tree of one page from the parser's events."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.anchors: dict[str, _Anchored | None] = {}  # None while what it marks is still being read
        self.strange: set[str] = set()  # aliases that mean nothing; each is told once
        self.count = 0  # nodes so far, those behind an alias each time
        self.lowest = 0  # levels of nesting so far
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
        self.bound(place, 1, depth)
        if isinstance(event, events.AliasEvent):
            return self.alias(event.anchor, place, depth)
        self.refuse_tag(event, place)
        if event.anchor is None:
            return self.content(event, place, at, depth)
        self.anchors[event.anchor] = None
        count, lowest, self.lowest = self.count, self.lowest, depth
        node = self.content(event, place, at, depth)
        self.anchors[event.anchor] = _Anchored(node, self.count - count + 1, self.lowest - depth)
        self.lowest = max(lowest, self.lowest)
        return node

    def content(self, event: Any, place: Place, at: Place, depth: int) -> Node:
        """Build what a node holds."""
        if isinstance(event, events.MappingStartEvent):
            return Mapping(at, self.entries(depth))
        if isinstance(event, events.SequenceStartEvent):
            return Sequence(at, tuple(self.node(item, None, depth + 1) for item in self.until_end()))
        return self.scalar(event, place if event.value else at)

    def bound(self, place: Place, nodes: int, depth: int) -> None:
        """Count nodes down to a level, and stop where there are too many of either."""
        self.count += nodes
        self.lowest = max(self.lowest, depth)
        if depth > DEEPEST:
            self.page.report(place, f"nested more than {DEEPEST} levels deep; no recipe is")
            raise _StopReadingError
        if self.count > MOST_NODES:
            self.page.report(
                place, f"more than {MOST_NODES} values once its aliases are followed; no recipe has so many"
            )
            raise _StopReadingError

    def alias(self, name: str, place: Place, depth: int) -> Node:
        """Return what an anchor marks; it stands where it was written."""
        if anchored := self.anchors.get(name):
            self.bound(place, anchored.nodes, depth + anchored.height)
            return anchored.node
        if name not in self.strange:
            what = "refers to what it stands in itself" if name in self.anchors else f"has no '&{name}' above it"
            self.page.report(place, f"the alias '*{name}' {what}; text that begins with '*' needs quotes")
        self.strange.add(name)
        return Unreadable(place)

    def refuse_tag(self, event: Any, place: Place) -> None:
        """Report a tag."""
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
        """Build a mapping's entries without those whose key is unusable; of a duplicate the first one stays.

        What ``<<`` merges in comes after them, and has no say where a key stands in the mapping itself.
        """
        kept: dict[str, tuple[Scalar, Node]] = {}
        merge: tuple[Scalar, Node] | None = None
        for event in self.until_end():
            key = self.node(event, None, depth + 1)
            value = self.node(next(self.events), key if isinstance(key, Scalar) else None, depth + 1)
            if not isinstance(key, Scalar):
                self.refuse_key(key)
            elif first := merge if (merging := key.text == "<<" and key.plain) else kept.get(key.text):
                line = first[0].place.line
                self.page.report(key.place, f"duplicate key '{key.text}'; the first is in line {line}")
            elif merging:
                merge = (key, value)
            else:
                kept[key.text] = (key, value)
        for mapping in self.merged(*merge) if merge else ():
            for key, value in mapping.entries:
                kept.setdefault(key.text, (key, value))
        return tuple(kept.values())

    def merged(self, key: Scalar, value: Node) -> Iterator[Mapping]:
        """Yield the mappings that ``<<`` merges in, the one that decides first."""
        for node in value.items if isinstance(value, Sequence) else (value,):
            if isinstance(node, Mapping):
                yield node
            elif not isinstance(node, Unreadable):
                self.page.report(key.place, f"'<<' merges in a mapping or a list of them, found {describe(node)}")

    def refuse_key(self, key: Node) -> None:
        if not isinstance(key, Unreadable):
            self.page.report(key.place, "a key must be one word; text with braces or brackets needs quotes")


def _place(event: Any) -> Place:
    start, end = event.start_mark, event.end_mark
    collection = isinstance(event, events.CollectionStartEvent)
    width = end.column - start.column if end.line == start.line and not collection else 1
    return Place(start.line + 1, start.column + 1, max(1, width))

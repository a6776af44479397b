"""YAML to a tree, without meaning: one document of plain mappings, lists and scalars.

The tree is built from the parser's events, one pass, so that every word keeps its place and its spelling. An alias is
a copy of what its anchor marks; ``<<`` merges as https://yaml.org/type/merge.html says. What both unfold into is
counted, so that a small file cannot become a large recipe. Tags are refused.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ruamel.yaml import YAML, events
from ruamel.yaml.error import MarkedYAMLError

from pipeline.recipe.nodes import NOTHING, Node, Page, Place, StopReadingError, describe, meaning
from pipeline.recipe.syntax import report_syntax

if TYPE_CHECKING:
    from collections.abc import Iterator

DEEPEST = 16  # levels of nesting; a recipe needs six
MOST_NODES = 20_000  # of a recipe with every alias followed; a hundred targets need a few thousand
_CONTROL = re.compile(r"[^\t\n\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def parse(page: Page) -> Node | None:
    """Read a page as one YAML 1.2 document.

    Returns:
        The tree, or None where there is none; unless the page is empty it then has a problem that says why.

    Raises:
        StopReadingError: There is too much of it.
    """
    if control := _CONTROL.search(page.text):
        name = unicodedata.name(control[0], f"U+{ord(control[0]):04X}")
        place = place_at(page.text[: control.start()])
        page.report(place, f"a control character ({name}) does not belong in a recipe")
        return None
    try:
        return _Tree(page).document()
    except MarkedYAMLError as error:
        report_syntax(page, error)
        return None


def place_at(before: str) -> Place:
    """Return the place behind a text."""
    return Place(before.count("\n") + 1, len(before) - before.rfind("\n"))


class _Tree:
    """Builds the tree of one page from the parser's events."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.anchors: dict[str | None, Node | None] = {}  # None while what it marks is still being read
        self.count = 0  # nodes so far, those behind an alias each time
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
        node = self.node(next(self.events), 0)
        next(self.events)  # the document's end
        after = next(self.events)
        if isinstance(after, events.DocumentStartEvent):
            self.page.report(self.place(after), "a second YAML document starts here; a recipe is one document")
            raise StopReadingError  # what is missing in the first one stands in the second
        return node

    def node(self, event: Any, depth: int, key: Node | None = None) -> Node:
        """Build one node; a collection and an empty value stand at their key."""
        place = self.place(event)
        node = Node(place, NOTHING, name=key.text if key else "", at=key.place if key else place)
        self.bound(place, 1, depth)
        if isinstance(event, events.AliasEvent):
            return self.alias(event.anchor, node, depth)
        if event.tag is not None:
            tag = event.tag.replace("tag:yaml.org,2002:", "!!")
            self.page.report(place, f"'{tag}' is a YAML tag; remove it, and quote what must stay text")
        self.anchors[event.anchor] = None
        if isinstance(event, events.ScalarEvent):
            self.word(node, event)
        elif isinstance(event, events.MappingStartEvent):
            node.place, node.value = node.at, self.entries(depth + 1)
        else:
            node.place, node.value = node.at, [self.node(item, depth + 1) for item in self.until_end()]
        self.anchors[event.anchor] = node
        return node

    def place(self, event: Any) -> Place:
        """Return where something stands."""
        start, end = event.start_mark, event.end_mark
        collection = isinstance(event, events.CollectionStartEvent)
        width = end.column - start.column if end.line == start.line and not collection else 1
        return Place(start.line + 1, start.column + 1, max(1, width), self.page.file)

    def bound(self, place: Place, nodes: int, depth: int) -> None:
        """Count nodes down to a level, and stop where there are too many of either."""
        self.count += nodes
        if depth > DEEPEST:
            self.page.report(place, f"nested more than {DEEPEST} levels deep; no recipe is")
            raise StopReadingError
        if self.count > MOST_NODES:
            said = f"more than {MOST_NODES} values once its aliases are followed; no recipe has so many"
            self.page.report(place, said)
            raise StopReadingError

    def alias(self, name: str, alias: Node, depth: int) -> Node:
        """Return a copy of what an anchor marks; its places are those of the first writing."""
        if marked := self.anchors.get(name):
            return replace(self.copy(marked, alias.place, depth), name=alias.name, at=alias.at)
        what = "refers to what it stands in itself" if name in self.anchors else f"has no '&{name}' above it"
        self.page.report(alias.place, f"the alias '*{name}' {what}; text that begins with '*' needs quotes")
        return alias

    def copy(self, node: Node, alias: Place, depth: int) -> Node:
        """Return a node anew, counted with all below it as if it stood at the alias."""
        self.bound(alias, 1, depth)
        value = node.value
        if isinstance(value, dict):
            self.bound(alias, len(value), depth)
            value = {word: self.copy(child, alias, depth + 1) for word, child in value.items()}
        elif isinstance(value, list):
            value = [self.copy(child, alias, depth + 1) for child in value]
        return replace(node, value=value)

    def word(self, node: Node, event: Any) -> None:
        """Read a word, number or text."""
        # JSON spells one character as two escapes, and YAML takes JSON; ruamel.yaml 0.19 leaves the halves apart.
        text = str(event.value).encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
        node.place = node.place if event.value else node.at
        if "\ufffd" in text or _CONTROL.search(text):  # half a character, or an escape such as "\0"
            self.page.report(node.place, f"{event.value!r} has a character that is no text")
        else:
            node.text, node.value = text, meaning(text) if event.style is None else text

    def until_end(self) -> Iterator[Any]:
        """Yield the first event of each node up to the end of the collection."""
        for event in self.events:
            if isinstance(event, events.CollectionEndEvent):
                return
            yield event

    def entries(self, depth: int) -> dict[str, Node]:
        """Build a mapping's entries without those whose key is unusable; of a duplicate the first one stays.

        What ``<<`` merges in comes after them, and has no say where a key stands in the mapping itself.
        """
        kept: dict[str, Node] = {}
        merge: dict[str, Node] = {}
        for event in self.until_end():
            key = self.node(event, depth)
            is_one_word = key.is_word or key.value is None
            value = self.node(next(self.events), depth, key if is_one_word else None)
            if is_one_word:
                entries = merge if key.text == "<<" and getattr(event, "style", None) is None else kept
                if key.text in entries:
                    line = entries[key.text].at.line
                    self.page.report(key.place, f"duplicate key '{key.text}'; the first is in line {line}")
                entries.setdefault(key.text, value)
            elif key.value is not NOTHING:
                self.page.report(key.place, "a key must be one word; text with braces or brackets needs quotes")
        for value in merge.values():
            for node in value.value if isinstance(value.value, list) else (value,):
                if isinstance(node.value, dict):
                    kept |= {word: entry for word, entry in node.value.items() if word not in kept}
                elif node.value is not NOTHING:
                    said = f"'<<' merges in a mapping or a list of them, found {describe(node)}"
                    self.page.report(value.at, said)
        return kept

"""A recipe's text as a tree: what was written and where, before anything is known of its meaning."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from pipeline.recipe.problems import Problem

if TYPE_CHECKING:
    from collections.abc import Sequence as Series

Value = str | int | float | bool | None

# The core schema of YAML 1.2.2, section 10.3.2: `no` is a word, `2026-01-31` and `1_000` are text.
_CONSTANTS: dict[str, Value] = dict.fromkeys(["", "~", "null", "Null", "NULL"])
_CONSTANTS |= dict.fromkeys(["true", "True", "TRUE"], True) | dict.fromkeys(["false", "False", "FALSE"], False)
_INTEGER = re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+")
_DECIMAL = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_INFINITE = re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")
_LONGEST_NUMBER = 40
TOKEN = re.compile(r"\bhf_[\w.-]{30,}|(?<=\btoken:)[^,}#\n]+")
MOST = 100  # problems that are told of one recipe


@dataclass(frozen=True)
class Place:
    """A stretch of one line: line and column from 1, width in characters."""

    line: int = 1
    column: int = 1
    width: int = 1


@dataclass(frozen=True)
class Node:
    """Something written in a recipe. A collection stands where the key that introduces it stands."""

    place: Place


@dataclass(frozen=True)
class Unreadable(Node):
    """What was reported already; readers pass over it in silence."""


@dataclass(frozen=True)
class Scalar(Node):
    """One word, number or text as written; ``plain`` where it stands without quotes."""

    text: str
    plain: bool

    @property
    def value(self) -> Value:
        """What the text means where no type is declared. Numbers too large for a float or 64 bits are infinite."""
        if not self.plain:
            return self.text
        if self.text in _CONSTANTS:
            return _CONSTANTS[self.text]
        if _INTEGER.fullmatch(self.text):
            return _integer(self.text)
        if _DECIMAL.fullmatch(self.text):
            return float(self.text)
        return math.inf if _INFINITE.fullmatch(self.text) else self.text

    @property
    def is_null(self) -> bool:
        """Whether nothing is written here, or a word for it."""
        return self.value is None


@dataclass(frozen=True)
class Sequence(Node):
    """A list."""

    items: tuple[Node, ...]


@dataclass(frozen=True)
class Mapping(Node):
    """Keys and what they introduce, in the order of the file, each key once."""

    entries: tuple[tuple[Scalar, Node], ...]

    @property
    def keys(self) -> list[str]:
        """The keys as words."""
        return [key.text for key, _ in self.entries]

    def get(self, word: str) -> Node | None:
        """Return what a key introduces."""
        return next((node for key, node in self.entries if key.text == word), None)

    def key(self, word: str) -> Scalar | None:
        """Return a key itself."""
        return next((key for key, _ in self.entries if key.text == word), None)


class TooManyProblemsError(Exception):
    """A page has so many problems that the rest is not looked for; they are on the page."""


@dataclass
class Page:
    """The text of one recipe, and the problems found in it so far."""

    file: str
    text: str
    problems: list[Problem] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.lines = self.text.split("\n")

    def report(self, at: Place, text: str, suggestion: str = "") -> None:
        """Note a problem at a place; past `MOST` of them raise `TooManyProblemsError`."""
        excerpt = self.lines[at.line - 1] if at.line <= len(self.lines) else ""
        problem = Problem(self.file, at.line, at.column, masked(text), masked(excerpt), suggestion, at.width)
        if problem not in self.problems:  # a part and its whole may find the same
            self.problems.append(problem)
        if len(self.problems) == MOST:
            last = Problem(self.file, len(self.lines), 1, f"more than {MOST} problems; correct the first ones")
            self.problems.append(last)
            raise TooManyProblemsError


def masked(text: str) -> str:
    """Return a text without what is a token of the Hub, or stands where the name of its variable belongs."""
    return TOKEN.sub(lambda found: re.sub(r"\S", "*", found[0]), text)


def find(node: Node | None, *path: str) -> Node | None:
    """Return what stands under a path of keys, or None."""
    for word in path:
        node = node.get(word) if isinstance(node, Mapping) else None
    return node


def text_at(node: Node | None, *path: str) -> str:
    """Return the text that stands under a path of keys, empty where there is none."""
    found = find(node, *path)
    return found.text if isinstance(found, Scalar) and not found.is_null else ""


def place_of(node: Node, path: Series[str | int]) -> Place:
    """Return the place of what stands under a path of keys and positions, as near to it as there is something.

    Steps that lead nowhere are passed over: pydantic names the kind of an alternative between its key and its content.
    """
    for step, following in zip(path, (*path, None)[1:], strict=True):
        if following == "[key]" and isinstance(node, Mapping) and (key := node.key(str(step))) is not None:
            return key.place  # so pydantic marks a key that is wrong itself
        if isinstance(node, Sequence) and isinstance(step, int) and step < len(node.items):
            node = node.items[step]
        elif isinstance(node, Mapping) and (child := node.get(str(step))) is not None:
            node = child
    return node.place


def describe(node: Node) -> str:
    """Return what was found, for a message that says what was expected."""
    if isinstance(node, Scalar):
        if node.is_null:
            return "nothing"
        short = node.text if len(node.text) <= 40 else node.text[:37] + "..."
        return f"the text {short!r}" if isinstance(node.value, str) else short
    return {Sequence: "a list", Mapping: "a mapping"}.get(type(node), "something unreadable")


def _integer(text: str) -> int | float:
    """Return a whole number; a number outside 64 bits is infinite, for no recipe means one."""
    if len(text) > _LONGEST_NUMBER:
        return math.inf
    base = {"0o": 8, "0x": 16}.get(text[:2], 10)
    number = int(text[2:], base) if base != 10 else int(text)
    return number if -(2**63) <= number < 2**63 else math.inf

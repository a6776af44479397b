"""A recipe's text as a tree: what was written and where, before anything is known of its meaning."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field, replace
from types import EllipsisType
from typing import TYPE_CHECKING, Any

from pipeline.recipe.problems import Problem

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from pydantic import BaseModel

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
NOTHING = ...  # stands where nothing is written, or nothing that can be read; no type takes it


@dataclass(frozen=True)
class Place:
    """A stretch of one line: line and column from 1, width in characters; without a file it is of the page's own."""

    line: int = 1
    column: int = 1
    width: int = 1
    file: str = ""


@dataclass
class Node:
    """Something written in a recipe.

    Attributes:
        place: Where it stands; a collection, and an empty value, where the key that introduces it does.
        value: Nodes by key, a list of nodes, or what a word means: for a start what it does where no type is declared.
        text: A word, number or text as written.
        name: The key that introduces it.
        at: Where that key stands.
        kind: The model that reads a mapping, as soon as that is known.
    """

    place: Place
    value: dict[str, Node] | list[Node] | Value | EllipsisType
    text: str = ""
    name: str = ""
    at: Place = Place()
    kind: type[BaseModel] | None = None

    @property
    def is_word(self) -> bool:
        """Whether this is a word, a number or a text, be it empty."""
        return isinstance(self.value, str | int | float)

    def plain(self) -> Any:
        """Return what is meant as plain values."""
        if isinstance(self.value, dict):
            return Table(self, ((word, node.plain()) for word, node in self.value.items()))
        if isinstance(self.value, list):
            return tuple(node.plain() for node in self.value)
        return NOTHING if self.value is None and not self.text else self.value


class Table(dict[str, Any]):
    """The plain values of a mapping, which is at hand too."""

    def __init__(self, node: Node, values: Iterable[tuple[str, Any]]) -> None:
        super().__init__(values)
        self.node = node


class StopReadingError(Exception):
    """The rest of a page is not looked at; why not is on the page."""


@dataclass
class Page:
    """The text of one recipe, and the problems found in it so far.

    Attributes:
        included: The pages of the files that it includes, by file; they have its list of problems.
    """

    file: str
    text: str
    problems: list[Problem] = field(default_factory=list)
    included: dict[str, Page] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.lines = self.text.split("\n")

    def report(self, at: Place, text: str, suggestion: str = "") -> None:
        """Note a problem at a place; past `MOST` of them raise `StopReadingError`."""
        page = self.included.get(at.file, self)
        excerpt = page.lines[at.line - 1] if at.line <= len(page.lines) else ""
        problem = Problem(page.file, at.line, at.column, masked(text), masked(excerpt), suggestion, at.width)
        if problem not in self.problems:  # a part and its whole may find the same
            self.problems.append(problem)
        if len(self.problems) == MOST:
            last = Problem(self.file, len(self.lines), 1, f"more than {MOST} problems; correct the first ones")
            self.problems.append(last)
            raise StopReadingError

    def report_unpinned(self, repo: Node) -> None:
        """Note that no commit pins a repository, which is the one thing that the program can fill in."""
        filled = f"`publish bump {self.file}` fills it in"  # in the recipe's own text
        how = "write its commit as 'revision:'" if repo.place.file in self.included else filled
        self.report(repo.place, f"no commit pins {repo.text!r}; {how}")


def masked(text: str) -> str:
    """Return a text without what is a token of the Hub, or stands where the name of its variable belongs."""
    return TOKEN.sub(lambda found: re.sub(r"\S", "*", found[0]), text)


def every(node: Node, *path: str) -> list[Node]:
    """Return what stands under a path of keys, where ``*`` is each key of a mapping and ``#`` each place of a list."""
    found = [node]
    for step in path:
        found = [child for parent in found for child in _children(parent.value, step)]
    return found


def _children(value: Any, step: str) -> list[Node]:
    if isinstance(value, dict):
        return [*value.values()] if step == "*" else [value[step]] if step in value else []
    return value if isinstance(value, list) and step == "#" else []


def artifacts(component: Node) -> list[Node]:
    """Return the artifacts of a target's component, under its name: those of a list, else the one that it is."""
    if not isinstance(component.value, list):
        return [component]
    return [replace(each, name=component.name, at=component.at) for each in component.value]


def text_at(node: Node, *path: str) -> str:
    """Return the text that stands under a path of keys, empty where there is none."""
    return next((found.text for found in every(node, *path) if found.is_word), "")


def path_of(node: Node) -> str:
    """Return the path that a word is, as a recipe that includes the word would have to write it."""
    return node.value if isinstance(node.value, str) else node.text


def path_at(node: Node, *path: str) -> str:
    """Return the path that stands under a path of keys, empty where there is none."""
    return next((path_of(found) for found in every(node, *path) if found.is_word), "")


def nearby(node: Node, path: Sequence[str | int]) -> Node:
    """Return what stands under a path of keys and positions, or as near to it as there is something.

    Steps that lead nowhere are passed over: pydantic names the kind of an alternative between its key and its content.
    """
    for step in path:
        if isinstance(node.value, list) and isinstance(step, int) and step < len(node.value):
            node = node.value[step]
        elif isinstance(node.value, dict):
            node = node.value.get(str(step), node)
    return node


def place_of(node: Node, path: Sequence[str | int]) -> Place:
    """Return the place of what stands under a path; as pydantic has it, ``[key]`` at its end means a key itself."""
    found = nearby(node, path)
    return found.at if path[-1:] == ("[key]",) else found.place


def describe(node: Node) -> str:
    """Return what was found, for a message that says what was expected."""
    if isinstance(node.value, dict | list):
        return "a mapping" if isinstance(node.value, dict) else "a list"
    if not node.is_word:
        return "nothing"
    short = node.text if len(node.text) <= 40 else node.text[:37] + "..."
    return f"the text {short!r}" if isinstance(node.value, str) else short


def meaning(text: str) -> Value:
    """Return what an unquoted text means where no type is declared.

    Numbers too large for a float or 64 bits are infinite, for no recipe means one.
    """
    if text in _CONSTANTS:
        return _CONSTANTS[text]
    if _INTEGER.fullmatch(text):
        base = {"0o": 8, "0x": 16}.get(text[:2], 10)
        number = int(text[2:] if base != 10 else text, base) if len(text) <= _LONGEST_NUMBER else math.inf
        return number if -(2**63) <= number < 2**63 else math.inf
    if _DECIMAL.fullmatch(text):
        return float(text)
    return math.inf if _INFINITE.fullmatch(text) else text

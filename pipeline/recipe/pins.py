"""Pins: the repositories that a recipe names, and the commit of each as it stands in the text, or where it belongs."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final, Literal

from ruamel.yaml import YAML
from ruamel.yaml.nodes import MappingNode, Node, SequenceNode

from pipeline.recipe.names import is_path

Kind = Literal["source", "loras", "judges", "datasets"]
KEY = "revision"
LINE_END: Final = re.compile(r"\r\n|\r|\n")


@dataclass(frozen=True)
class Pin:
    """A repository that a recipe names.

    Attributes:
        kind: What it is to the recipe.
        repo: Its name.
        commit: What the recipe says it is pinned to; empty where it says nothing.
        begin: Where a commit begins in the text, or would.
        end: Where it ends.
        lead: What has to stand before one that is new.
        alone: Whether another commit may take its place: not where it is an alias or has one, or is a block of text.
    """

    kind: Kind
    repo: str
    commit: str
    begin: int
    end: int
    lead: str = ""
    alone: bool = True


def find_pins(text: str) -> list[Pin]:
    """Return what a recipe names on the Hub, in the order of its text; a mapping with aliases once.

    Args:
        text: The recipe; YAML, whatever else is wrong with it.
    """
    found = {(pin.begin, pin.kind, pin.repo): pin for pin in _pins(text, YAML().compose(text))}
    return [found[place] for place in sorted(found)]


def pinned(text: str, commits: Mapping[Pin, str]) -> str:
    """Return a recipe's text with other commits, and every other character as it is.

    Args:
        text: The recipe.
        commits: The commits, by pins that were found in this text.
    """
    for pin in sorted(commits, key=lambda pin: pin.begin, reverse=True):
        text = f"{text[: pin.begin]}{pin.lead}{commits[pin]}{text[pin.end :]}"
    return text


def _pins(text: str, root: Node) -> Iterator[Pin]:
    validation = _value(root, "validation")
    named: list[tuple[Kind, str, list[Node | None]]] = [
        ("source", "repo", [_value(root, "source")]),
        ("loras", "repo", _children(_value(root, "loras"))),
        ("datasets", "dataset", [_value(validation, "prompts")]),
        ("judges", "model", _children(_value(validation, "require"))),
    ]
    for kind, word, nodes in named:
        for node in nodes:
            repo = _value(node, word)
            if (
                isinstance(node, MappingNode)
                and repo is not None
                and isinstance(repo.value, str)
                and not is_path(repo.value)
            ):
                yield _pin(text, kind, node, repo)


def _pin(text: str, kind: Kind, node: MappingNode, repo: Node) -> Pin:
    """Return a repository with the place of its commit: behind its name where none is written."""
    commit = _value(node, KEY)
    if commit is not None and commit.end_mark.index > commit.start_mark.index:
        quote = text[commit.start_mark.index] in "'\""  # which stays
        begin, end, value = commit.start_mark.index + quote, commit.end_mark.index - quote, str(commit.value)
        return Pin(kind, repo.value, value, begin, end, alone=text[begin:end] == value)
    if commit is not None:  # the key stands there, and nothing behind it
        key = next(key for key, _ in node.value if key.value == KEY)
        colon = re.compile(r"\s*:").match(text, key.end_mark.index)  # `{revision}` has none
        at = colon.end() if colon else key.end_mark.index
        return Pin(kind, repo.value, "", at, at, " " if colon else ": ")
    at = repo.end_mark.index
    if node.flow_style:
        return Pin(kind, repo.value, "", at, at, f", {KEY}: ")
    end = LINE_END.search(text, at)
    at, line = (end.start(), end[0]) if end else (len(text), "\n")
    return Pin(kind, repo.value, "", at, at, f"{line}{' ' * node.value[0][0].start_mark.column}{KEY}: ")


def _value(node: Node | None, word: str) -> Node | None:
    """Return what a key of a mapping introduces; None where there is no such key, or no mapping."""
    entries = node.value if isinstance(node, MappingNode) else ()
    return next((value for key, value in entries if key.value == word), None)


def _children(node: Node | None) -> list[Node | None]:
    """Return what stands in a list, or behind the keys of a mapping."""
    if isinstance(node, SequenceNode):
        return list(node.value)
    return [value for _, value in node.value] if isinstance(node, MappingNode) else []

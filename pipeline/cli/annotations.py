"""What is wrong with recipes and models, as the services that show it beside a pull request's lines read it."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from pathlib import PurePath
from typing import Any, Final, Literal, Protocol
from urllib.parse import quote

RECIPES: Final = {"recipe": "A recipe that cannot be published as it is."}  # a recipe is what `publish check` takes
TEXT: Final = "%\r\n"  # what a command's text must not have as it is
PROPERTY: Final = f"{TEXT}:,"  # and what a property of it must not
SARIF: Final = "https://json.schemastore.org/sarif-2.1.0.json"


class Remark(Protocol):
    """One thing that is wrong, at a place in a file; a line of 0 is the whole file."""

    @property
    def file(self) -> str:
        """The file's name."""

    @property
    def line(self) -> int:
        """The line, from 1."""

    @property
    def column(self) -> int:
        """The first character in the line, from 1."""

    @property
    def width(self) -> int:
        """The characters of the line."""

    @property
    def message(self) -> str:
        """What is wrong, in one line."""

    @property
    def rule(self) -> str:
        """What it breaks."""

    @property
    def level(self) -> Literal["error", "warning"]:
        """Whether anything is refused for it."""


def as_github(problems: Iterable[Remark], verb: str = "publish check") -> str:
    """Return workflow commands, a line each, by which GitHub annotates the lines of a change."""
    return "\n".join(_command(problem, verb) for problem in problems)


def _command(problem: Remark, verb: str) -> str:
    places: dict[str, object] = {"file": _place(problem)}
    if problem.line:
        places |= {"line": problem.line, "col": problem.column, "endColumn": problem.column + problem.width - 1}
    places["title"] = verb
    properties = ",".join(f"{name}={_escaped(str(value), PROPERTY)}" for name, value in places.items())
    return f"::{problem.level} {properties}::{_escaped(problem.message, TEXT)}"


def _escaped(text: str, signs: str) -> str:
    """Return a text as the runner of a workflow reads it, which undoes this."""
    return "".join(f"%{ord(sign):02X}" if sign in signs else sign for sign in text)


def as_sarif(
    problems: Iterable[Remark], version: str, verb: str = "publish check", rules: Mapping[str, str] = RECIPES
) -> str:
    """Return a log of SARIF 2.1.0 (OASIS, 2020), which code scanning services read.

    Args:
        problems: The problems.
        version: The version of this program.
        verb: The command that found them.
        rules: What each rule says.
    """
    listed = [{"id": name, "shortDescription": {"text": text}} for name, text in rules.items()]
    driver = {"name": "quantpress", "version": version, "rules": listed}
    run = {
        "tool": {"driver": driver},
        "columnKind": "unicodeCodePoints",
        "originalUriBaseIds": {"%SRCROOT%": {"description": {"text": f"Where `{verb}` was called."}}},
        "results": [_result(problem) for problem in problems],
    }
    return json.dumps({"$schema": SARIF, "version": "2.1.0", "runs": [run]}, indent=2)


def _result(problem: Remark) -> dict[str, Any]:
    place: dict[str, Any] = {"artifactLocation": {"uri": quote(os.fsencode(_place(problem))), "uriBaseId": "%SRCROOT%"}}
    if problem.line:
        columns = {"startColumn": problem.column, "endColumn": problem.column + problem.width}
        place["region"] = {"startLine": problem.line, **columns}
    return {
        "ruleId": problem.rule,
        "level": problem.level,
        "message": {"text": problem.message},
        "locations": [{"physicalLocation": place}],
    }


def _place(problem: Remark) -> str:
    """Return a file's name as it is from where the command was called, which in a workflow is the checkout."""
    return PurePath(os.path.relpath(problem.file)).as_posix()

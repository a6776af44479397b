"""What is wrong with recipes, as the services that show it beside a pull request's lines read it."""

from __future__ import annotations

import json
from collections.abc import Iterable
from os.path import relpath
from pathlib import PurePath
from typing import Any, Final
from urllib.parse import quote

from pipeline.recipe import Problem

RULE: Final = "recipe"  # the one rule of all problems: a recipe is what `publish check` takes
TEXT: Final = "%\r\n"  # what a command's text must not have as it is
PROPERTY: Final = f"{TEXT}:,"  # and what a property of it must not
SARIF: Final = "https://json.schemastore.org/sarif-2.1.0.json"


def as_github(problems: Iterable[Problem]) -> str:
    """Return workflow commands, a line each, by which GitHub annotates the lines of a change."""
    return "\n".join(_command(problem) for problem in problems)


def _command(problem: Problem) -> str:
    places: dict[str, object] = {"file": _place(problem)}
    if problem.line:
        places |= {"line": problem.line, "col": problem.column, "endColumn": problem.column + problem.width - 1}
    places["title"] = "publish check"
    properties = ",".join(f"{name}={_escaped(str(value), PROPERTY)}" for name, value in places.items())
    return f"::error {properties}::{_escaped(problem.message, TEXT)}"


def _escaped(text: str, signs: str) -> str:
    """Return a text as the runner of a workflow reads it, which undoes this."""
    return "".join(f"%{ord(sign):02X}" if sign in signs else sign for sign in text)


def as_sarif(problems: Iterable[Problem], version: str) -> str:
    """Return a log of SARIF 2.1.0 (OASIS, 2020), which code scanning services read.

    Args:
        problems: The problems.
        version: The version of this program.
    """
    rule = {"id": RULE, "shortDescription": {"text": "A recipe that cannot be published as it is."}}
    driver = {"name": "quantpress", "version": version, "rules": [rule]}
    run = {
        "tool": {"driver": driver},
        "columnKind": "unicodeCodePoints",
        "originalUriBaseIds": {"%SRCROOT%": {"description": {"text": "Where `publish check` was called."}}},
        "results": [_result(problem) for problem in problems],
    }
    return json.dumps({"$schema": SARIF, "version": "2.1.0", "runs": [run]}, indent=2)


def _result(problem: Problem) -> dict[str, Any]:
    place: dict[str, Any] = {"artifactLocation": {"uri": quote(_place(problem)), "uriBaseId": "%SRCROOT%"}}
    if problem.line:
        columns = {"startColumn": problem.column, "endColumn": problem.column + problem.width}
        place["region"] = {"startLine": problem.line, **columns}
    return {
        "ruleId": RULE,
        "level": "error",
        "message": {"text": problem.message},
        "locations": [{"physicalLocation": place}],
    }


def _place(problem: Problem) -> str:
    """Return a file's name as it is from where the command was called, which in a workflow is the checkout."""
    return PurePath(relpath(problem.file)).as_posix()

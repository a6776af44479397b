"""The pages that users read, and what they are shown to type."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any, Final

import typer

from pipeline.cli import app

ROOT: Final = Path(__file__).parents[2]
PAGES: Final = [Path("README.md"), *sorted(path.relative_to(ROOT) for path in (ROOT / "docs").glob("*.md"))]


def script(page: Path) -> str:
    """Return all shell blocks of a page, one after the other."""
    return "".join(re.findall(r"^```sh\n(.*?)^```", (ROOT / page).read_text(), re.DOTALL | re.MULTILINE))


def typed_in(page: Path) -> list[list[str]]:
    """Return the commands of ours in a page's shell blocks."""
    lines = script(page).replace("\\\n", " ").splitlines()
    words = [shlex.split(line.partition(" & ")[0], comments=True) for line in lines]
    return [command for command in words if command and command[0] == "publish"]


def verbs() -> dict[str, Any]:
    """Return the verbs of the program."""
    group: Any = typer.main.get_command(app)
    return dict(group.commands)


def parsed(command: list[str]) -> None:
    """Read the words of a command as the program does, and do nothing."""
    group: Any = typer.main.get_command(app)
    _, verb, *words = [command[0], *group.shared_first(command[1:])]
    group.commands[verb].make_context(verb, words)

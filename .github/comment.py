"""Show beneath a pull request what it would publish, in one comment that is kept up to date.

Usage: ``comment.py PREVIEW``, a file that `preview.py` wrote while code of the pull request ran, so it may hold
anything: it is read as data, by size, type and pattern, and whatever is words of somebody is shown where it is neither
HTML nor a mention. Which pull request it is, the event of the workflow says, and GitHub is asked for its number. Needs
Python alone.
"""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from github import OURS, GitHub, UntrustedError, matching, only, quoted, several, words

LARGEST: Final = 1 << 20  # bytes of a preview
MOST: Final = 60_000  # characters of a comment; GitHub takes 65,536
MARK: Final = "<!-- what it would publish -->"
NAME: Final = re.compile(r"[\w.+-][\w.+ /-]{0,199}", re.ASCII)  # of a recipe, target, repository, component or scheme
TAKEN: Final = re.compile(f"({NAME.pattern})?", re.ASCII)
STATE: Final = re.compile(r"[a-z]{1,20}")
WAYS: Final = {"none": "all there", "model": "by models", "sequential": "by weights"}  # to run a pipeline on a card
WAY: Final = re.compile("|".join(WAYS))


@dataclass(frozen=True)
class Component:
    """A part of a target."""

    name: str
    scheme: str
    source_bytes: int
    result_bytes: int


@dataclass(frozen=True)
class Target:
    """A repository that a recipe would make, and what of it is on the Hub."""

    target: str
    repository: str
    components: tuple[Component, ...]
    estimated: bool
    source_bytes: int
    result_bytes: int
    memory: int
    validation_memory: int
    disk: int
    state: str
    findings: tuple[str, ...]


@dataclass(frozen=True)
class Step:
    """What a ladder has for one card: a target, or the source where none is named; memory by how it is run."""

    card: str
    taken: str
    result_bytes: int
    estimated: bool
    sqnr: float | None
    offload: str
    memory: dict[str, int]


@dataclass(frozen=True)
class Recipe:
    """A recipe that the pull request is about; with a problem where it could not be planned."""

    recipe: str
    targets: tuple[Target, ...]
    ladder: tuple[Step, ...]
    problem: str


def read(text: bytes) -> tuple[Recipe, ...]:
    """Read a preview.

    Raises:
        UntrustedError: It is not one.
    """
    if len(text) > LARGEST:
        raise UntrustedError(f"{len(text)} bytes")
    try:
        return several(json.loads(text), recipe_in, 100)
    except (ValueError, RecursionError) as error:
        raise UntrustedError(f"no JSON: {error}") from error


def recipe_in(value: Any) -> Recipe:
    """Read one recipe."""
    found = only(value, {"recipe", "targets", "ladder", "problem"})
    parts = several(found["targets"], target_in, 50), several(found["ladder"], step_in, 20)
    return Recipe(name(found["recipe"]), *parts, words(found["problem"], 4000))


def target_in(value: Any) -> Target:
    """Read one target."""
    numbers = ("source_bytes", "result_bytes", "memory", "validation_memory", "disk")
    found = only(value, {"target", "repository", "components", "estimated", "state", "findings", *numbers})
    return Target(
        name(found["target"]),
        name(found["repository"]),
        several(found["components"], component_in, 50),
        either(found["estimated"]),
        *(number(found[key]) for key in numbers),
        matching(found["state"], STATE),
        several(found["findings"], lambda text: words(text, 2000), 50),
    )


def component_in(value: Any) -> Component:
    """Read one component."""
    found = only(value, {"name", "scheme", "source_bytes", "result_bytes"})
    sizes = number(found["source_bytes"]), number(found["result_bytes"])
    return Component(name(found["name"]), name(found["scheme"]), *sizes)


def step_in(value: Any) -> Step:
    """Read what a ladder has for one card."""
    found = only(value, {"card", "taken", "result_bytes", "estimated", "sqnr", "offload", "memory"})
    memory = {way: number(taken) for way, taken in only(found["memory"], {*WAYS}).items()}
    return Step(
        name(found["card"]),
        matching(found["taken"], TAKEN),
        number(found["result_bytes"]),
        either(found["estimated"]),
        None if found["sqnr"] is None else quantity(found["sqnr"]),
        matching(found["offload"], WAY),
        memory,
    )


def name(value: Any) -> str:
    """Return a name, whose letters mean nothing in Markdown but ``_``, which is put between backticks."""
    return matching(value, NAME)


def number(value: Any) -> int:
    """Return a number of bytes."""
    if type(value) is not int or not 0 <= value < 1 << 60:
        raise UntrustedError(f"no number of bytes: {value!r}")
    return value


def quantity(value: Any) -> float:
    """Return a number of decibels or seconds."""
    if type(value) not in {int, float} or not abs(value) < 1e6:
        raise UntrustedError(f"no number: {value!r}")
    return float(value)


def either(value: Any) -> bool:
    """Return yes or no."""
    if not isinstance(value, bool):
        raise UntrustedError(f"neither true nor false: {value!r}")
    return value


def rendered(recipes: tuple[Recipe, ...]) -> str:
    """Return what a pull request would publish, as Markdown."""
    if not recipes:
        return "This changes nothing that a recipe depends on: nothing would be published."
    text = "\n\n".join(part for recipe in recipes for part in paragraphs(recipe))
    return text if len(text) < MOST else f"{text[:MOST].rpartition(chr(10) * 2)[0]}\n\nThe rest is in the check's log."


def paragraphs(recipe: Recipe) -> Iterator[str]:
    """Yield what is to be said of one recipe."""
    yield f"### `{recipe.recipe}`"
    if recipe.problem:
        yield quoted(recipe.problem)
    if recipe.targets:
        rows = [
            f"| `{one.target}` | `{one.repository}` | {size(one.source_bytes)} | "
            f"{about(one.result_bytes, estimated=one.estimated)} | "
            f"{size(max(one.memory, one.validation_memory))} | {size(one.disk)} | {one.state} |"
            for one in recipe.targets
        ]
        yield "\n".join(["| target | repository | source | result | memory | disk | Hub |", "| --- " * 7 + "|", *rows])
        parts = [
            f"| `{one.target}` | `{part.name}` | `{part.scheme}` | {size(part.source_bytes)} | "
            f"{size(part.result_bytes)} |"
            for one in recipe.targets
            for part in one.components
        ]
        head = ["| target | component | scheme | source | result |", "| --- " * 5 + "|"]
        yield "\n".join(["<details><summary>Components</summary>", "", *head, *parts, "", "</details>"])
    if recipe.ladder:
        yield ladder(recipe.ladder)
    if found := [f"{one.target}: {text}" for one in recipe.targets for text in one.findings]:
        yield quoted("\n".join(found))


def ladder(steps: tuple[Step, ...]) -> str:
    """Return which target is for which card."""
    rows = [
        f"| `{one.card}` | {f'`{one.taken}`' if one.taken else 'the source'} | "
        f"{about(one.result_bytes, estimated=one.estimated)} | "
        f"{'all' if one.sqnr is None else f'{one.sqnr:.1f} dB'} | "
        + " | ".join(f"**{size(one.memory[way])}**" if way == one.offload else size(one.memory[way]) for way in WAYS)
        + " |"
        for one in steps
    ]
    head = [
        f"| which of these for a card of | take | files | signal | {' | '.join(WAYS.values())} |",
        "| --- " * 7 + "|",
    ]
    note = (
        "Signal is over the noise of quantizing. Memory is of the card, by how it is run, bold as that card runs it; "
        "what a call takes beside weights is reckoned."
    )
    return "\n".join([*head, *rows, "", note])


def about(count: int, *, estimated: bool) -> str:
    """Return the size of a result."""
    return f"{'about ' if estimated else ''}{size(count)}"


def size(count: float) -> str:
    """Return a number of bytes for people."""
    for unit in ("B", "kB", "MB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} GB"


def pull_request(here: GitHub, run: dict[str, Any]) -> int | None:
    """Return the open pull request that a run checked, if it still shows the commit that was checked.

    The event names none where it came from a fork; where its branch and commit are is the event's word, too.
    """
    head = f"{run['head_repository']['owner']['login']}:{run['head_branch']}"
    pulls = here.ask("GET", "/pulls", state="open", head=head)
    return next((int(pull["number"]) for pull in pulls if pull["head"]["sha"] == run["head_sha"]), None)


def show(here: GitHub, pull: int, text: str) -> None:
    """Write the comment, in place of the one that was there."""
    body = {"body": f"{MARK}\n{text}"}
    for comment in here.all(f"/issues/{pull}/comments"):
        if comment["user"]["login"] == OURS and comment["body"].startswith(MARK):
            here.ask("PATCH", f"/issues/comments/{comment['id']}", body)
            return
    here.ask("POST", f"/issues/{pull}/comments", body)


def main(preview: str) -> int:
    """Show a preview, and return the exit code."""
    run = json.loads(Path(os.environ["GITHUB_EVENT_PATH"]).read_bytes())["workflow_run"]
    try:
        with Path(preview).open("rb") as file:
            recipes = read(file.read(LARGEST + 1))
    except UntrustedError as error:
        sys.stderr.write(f"This is no preview that the check wrote: {str(error)[:200]!r}\n")
        return 2
    here = GitHub.of_workflow()
    pull = pull_request(here, run)
    if pull is None:
        sys.stdout.write("No open pull request shows the commit that was checked.\n")
        return 0
    show(here, pull, rendered(recipes))
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))

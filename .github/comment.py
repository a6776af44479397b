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
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar
from urllib.parse import urlencode

LARGEST: Final = 1 << 20  # bytes of a preview
MOST: Final = 60_000  # characters of a comment; GitHub takes 65,536
Some = TypeVar("Some")
MARK: Final = "<!-- what it would publish -->"
OURS: Final = "github-actions[bot]"
NAME: Final = re.compile(r"[\w.+-][\w.+ /-]{0,199}", re.ASCII)  # of a recipe, target, repository, component or scheme
STATE: Final = re.compile(r"[a-z]{1,20}")


class UntrustedError(Exception):
    """A preview that the check of a pull request would not have written."""


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
class Recipe:
    """A recipe that the pull request is about; with a problem where it could not be planned."""

    recipe: str
    targets: tuple[Target, ...]
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
    found = only(value, {"recipe", "targets", "problem"})
    return Recipe(name(found["recipe"]), several(found["targets"], target_in, 50), words(found["problem"], 4000))


def target_in(value: Any) -> Target:
    """Read one target."""
    numbers = ("source_bytes", "result_bytes", "memory", "validation_memory", "disk")
    found = only(value, {"target", "repository", "components", "estimated", "state", "findings", *numbers})
    if not isinstance(found["estimated"], bool):
        raise UntrustedError(f"estimated: {found['estimated']!r}")
    return Target(
        name(found["target"]),
        name(found["repository"]),
        several(found["components"], component_in, 50),
        found["estimated"],
        *(number(found[key]) for key in numbers),
        matching(found["state"], STATE),
        several(found["findings"], lambda text: words(text, 2000), 50),
    )


def component_in(value: Any) -> Component:
    """Read one component."""
    found = only(value, {"name", "scheme", "source_bytes", "result_bytes"})
    sizes = number(found["source_bytes"]), number(found["result_bytes"])
    return Component(name(found["name"]), name(found["scheme"]), *sizes)


def only(value: Any, keys: set[str]) -> dict[str, Any]:
    """Return a mapping with exactly these keys."""
    if not isinstance(value, dict) or value.keys() != keys:
        raise UntrustedError(f"not {', '.join(sorted(keys))}")
    return value


def several(value: Any, read_one: Callable[[Any], Some], most: int) -> tuple[Some, ...]:
    """Return a list of no more than so many."""
    if not isinstance(value, list) or len(value) > most:
        raise UntrustedError(f"no list of at most {most}")
    return tuple(read_one(one) for one in value)


def matching(value: Any, pattern: re.Pattern[str]) -> str:
    """Return a text that is wholly of a pattern."""
    if not isinstance(value, str) or not pattern.fullmatch(value):
        raise UntrustedError(f"not {pattern.pattern}")
    return value


def name(value: Any) -> str:
    """Return a name, whose letters mean nothing in Markdown but ``_``, which is put between backticks."""
    return matching(value, NAME)


def words(value: Any, most: int) -> str:
    """Return somebody's text, which is to be shown by `quoted` only."""
    if not isinstance(value, str) or len(value) > most:
        raise UntrustedError(f"no text of at most {most} characters")
    return value


def number(value: Any) -> int:
    """Return a number of bytes."""
    if type(value) is not int or not 0 <= value < 1 << 60:
        raise UntrustedError(f"no number of bytes: {value!r}")
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
            f"| `{one.target}` | `{one.repository}` | {size(one.source_bytes)} | {about(one)} | "
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
    if found := [f"{one.target}: {text}" for one in recipe.targets for text in one.findings]:
        yield quoted("\n".join(found))


def about(target: Target) -> str:
    """Return the size of a result."""
    return f"{'about ' if target.estimated else ''}{size(target.result_bytes)}"


def size(count: float) -> str:
    """Return a number of bytes for people."""
    for unit in ("B", "kB", "MB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} GB"


def quoted(text: str) -> str:
    """Return somebody's text as a block of code, which no text of it ends."""
    fence = "`" * (max([2, *(len(run) for run in re.findall("`+", text))]) + 1)
    plain = "".join(sign if sign == "\n" or sign.isprintable() else "\N{REPLACEMENT CHARACTER}" for sign in text)
    return f"{fence}text\n{plain}\n{fence}"


@dataclass(frozen=True)
class GitHub:
    """The repository of the workflow, as its token may use it."""

    api: str
    repository: str
    token: str

    def ask(self, method: str, path: str, content: Any = None, **query: str) -> Any:
        """Return the answer to one request."""
        address = f"{self.api}/repos/{self.repository}{path}{'?' + urlencode(query) if query else ''}"
        request = urllib.request.Request(  # noqa: S310  GitHub says where its API is
            address,
            None if content is None else json.dumps(content).encode(),
            {"Authorization": f"Bearer {self.token}", "Accept": "application/vnd.github+json"},
            method=method,
        )
        with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310
            return json.loads(answer.read())

    def pull_request(self, run: dict[str, Any]) -> int | None:
        """Return the open pull request that a run checked, if it still shows the commit that was checked.

        The event names none where it came from a fork; where its branch and commit are is the event's word, too.
        """
        head = f"{run['head_repository']['owner']['login']}:{run['head_branch']}"
        pulls = self.ask("GET", "/pulls", state="open", head=head)
        return next((int(pull["number"]) for pull in pulls if pull["head"]["sha"] == run["head_sha"]), None)

    def show(self, pull: int, text: str) -> None:
        """Write the comment, in place of the one that was there."""
        body, page = {"body": f"{MARK}\n{text}"}, 1
        while found := self.ask("GET", f"/issues/{pull}/comments", per_page="100", page=str(page)):
            for comment in found:
                if comment["user"]["login"] == OURS and comment["body"].startswith(MARK):
                    self.ask("PATCH", f"/issues/comments/{comment['id']}", body)
                    return
            page += 1
        self.ask("POST", f"/issues/{pull}/comments", body)


def main(preview: str) -> int:
    """Show a preview, and return the exit code."""
    run = json.loads(Path(os.environ["GITHUB_EVENT_PATH"]).read_bytes())["workflow_run"]
    try:
        with Path(preview).open("rb") as file:
            recipes = read(file.read(LARGEST + 1))
    except UntrustedError as error:
        sys.stderr.write(f"This is no preview that the check wrote: {str(error)[:200]!r}\n")
        return 2
    here = GitHub(*(os.environ[name] for name in ("GITHUB_API_URL", "GITHUB_REPOSITORY", "GITHUB_TOKEN")))
    pull = here.pull_request(run)
    if pull is None:
        sys.stdout.write("No open pull request shows the commit that was checked.\n")
        return 0
    here.show(pull, rendered(recipes))
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))

"""Show beneath a pull request what it would publish, in one comment that is kept up to date.

Usage: ``comment.py PREVIEW``, a folder that `preview.py` and `trial.py` wrote into while code of the pull request ran,
so it may hold anything: it is read as data, by size, type and pattern, and whatever is words of somebody is shown where
it is neither HTML nor a mention. Which pull request it is, the event of the workflow says, and GitHub is asked for its
number and for that of the pages on the trial, of which nothing is read: they are linked. Needs Python alone.
"""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any, Final

from github import OURS, GitHub, UntrustedError, matching, only, quoted, several, words

LARGEST: Final = 1 << 20  # bytes of a preview, and of what was tried
MOST: Final = 60_000  # characters of a comment; GitHub takes 65,536
MARK: Final = "<!-- what it would publish -->"
NAME: Final = re.compile(r"[\w.+-][\w.+ /-]{0,199}", re.ASCII)  # of a recipe, target, repository, component or scheme
TAKEN: Final = re.compile(f"({NAME.pattern})?", re.ASCII)
STATE: Final = re.compile(r"[a-z]{1,20}")
VERDICT: Final = re.compile(r"PASS|FAIL|INCONCLUSIVE")
UNTRIED: Final = "It was not tried: the check's log says why."
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
class Tried:
    """What became of a target when it was tried; the verdict is what limits say of a model that is not the source."""

    target: str
    state: str
    verdict: str | None
    seconds: float
    told: tuple[str, ...]


@dataclass(frozen=True)
class Trial:
    """What became of a recipe when it was tried; with a problem where none of its targets could be."""

    recipe: str
    stand_in: str
    targets: tuple[Tried, ...]
    problem: str


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
    return several(parsed(text), recipe_in, 100)


def read_trials(text: bytes) -> tuple[Trial, ...]:
    """Read what was tried.

    Raises:
        UntrustedError: It is not that.
    """
    return several(parsed(text), trial_in, 100)


def parsed(text: bytes) -> Any:
    """Return JSON of no more than so many bytes."""
    if len(text) > LARGEST:
        raise UntrustedError(f"{len(text)} bytes")
    try:
        return json.loads(text)
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


def trial_in(value: Any) -> Trial:
    """Read what became of one recipe."""
    found = only(value, {"recipe", "stand_in", "targets", "problem"})
    told = words(found["stand_in"], 500), several(found["targets"], tried_in, 50), words(found["problem"], 4000)
    return Trial(name(found["recipe"]), *told)


def tried_in(value: Any) -> Tried:
    """Read what became of one target."""
    found = only(value, {"target", "state", "verdict", "seconds", "told"})
    return Tried(
        name(found["target"]),
        matching(found["state"], STATE),
        None if found["verdict"] is None else matching(found["verdict"], VERDICT),
        quantity(found["seconds"]),
        several(found["told"], lambda text: words(text, 2000), 50),
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


def rendered(recipes: tuple[Recipe, ...], trials: tuple[Trial, ...] | None = None, pages: str = "") -> str:
    """Return what a pull request would publish, as Markdown.

    Args:
        recipes: What it is about.
        trials: What became of these; None where that is told elsewhere.
        pages: The address of the pages on that; empty where there are none.
    """
    if not recipes:
        return "This changes nothing that a recipe depends on: nothing would be published."
    known = {trial.recipe: trial for trial in trials or ()}
    parts = []
    for recipe in recipes:
        parts += paragraphs(recipe)
        if trials is not None:
            tried = known.get(recipe.recipe)
            parts += paragraphs_of(tried, recipe.problem) if tried else [UNTRIED]
    warning = "Code of this pull request made them: open them as you would open a stranger's."
    return fitted(parts, f"[Pages on the trials, with the answers]({pages}), for a week. {warning}" if pages else "")


def rendered_trials(trials: tuple[Trial, ...]) -> str:
    """Return what became of recipes when they were tried, as Markdown."""
    parts = [part for one in trials for part in (f"### `{one.recipe}`, tried", *paragraphs_of(one))]
    return fitted(parts or ["This changes nothing that a recipe depends on: nothing was tried."])


def fitted(parts: list[str], end: str = "") -> str:
    """Return paragraphs as one text that GitHub takes, with an end; where some are left out, it says so."""
    lengths = accumulate(len(part) + 2 for part in parts)
    kept = [part for part, length in zip(parts, lengths, strict=True) if length < MOST]
    cut = ["The rest is in the check's log."] if len(kept) < len(parts) else []
    return "\n\n".join([*kept, *cut, *([end] if end else [])])


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


def paragraphs_of(trial: Trial, known: str = "") -> Iterator[str]:
    """Yield what became of one recipe when it was tried; a problem that is known is not told again."""
    if trial.problem and trial.problem != known:
        yield quoted(f"It was not tried: {trial.problem}")
    if trial.targets:
        rows = [
            f"| `{one.target}` | {one.state} | {one.verdict or ''} | {one.seconds:.0f} s |" for one in trial.targets
        ]
        yield "\n".join(["| trial | state | limits say | took |", "| --- " * 4 + "|", *rows])
        told = [f"{one.target}: {text}" for one in trial.targets for text in one.told]
        block = quoted("\n".join([f"tried on {trial.stand_in}", *told] if trial.stand_in else told))
        shown = " open" if any(one.state == "failed" for one in trial.targets) else ""
        yield f"<details{shown}><summary>What the trial found</summary>\n\n{block}\n\n</details>"


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
    if run["head_repository"] is None:  # the fork is gone
        return None
    head = f"{run['head_repository']['owner']['login']}:{run['head_branch']}"
    pulls = here.ask("GET", "/pulls", state="open", head=head)
    return next((int(pull["number"]) for pull in pulls if pull["head"]["sha"] == run["head_sha"]), None)


def show(here: GitHub, pull: int, text: str) -> None:
    """Write the comment, in place of the one that was there."""
    body = {"body": f"{MARK}\n{text}"}
    for comment in here.all(f"/issues/{pull}/comments"):
        if (comment["user"] or {}).get("login") == OURS and comment["body"].startswith(MARK):
            here.ask("PATCH", f"/issues/comments/{comment['id']}", body)
            return
    here.ask("POST", f"/issues/{pull}/comments", body)


def pages_of(here: GitHub, run: dict[str, Any]) -> str:
    """Return the address of the pages on a run's trials, made of GitHub's numbers; empty where there are none."""
    at = f"/actions/runs/{int(run['id'])}/artifacts"
    found = [int(one["id"]) for one in here.ask("GET", at, name="trial")["artifacts"] if not one["expired"]]
    return f"{os.environ['GITHUB_SERVER_URL']}/{here.repository}{at}/{max(found)}" if found else ""


def left(folder: Path, file: str) -> bytes:
    """Return what the check left in a file, or the beginning of it where it is too much."""
    with (folder / file).open("rb") as opened:
        return opened.read(LARGEST + 1)


def main(preview: str) -> int:
    """Show a preview, and return the exit code."""
    run = json.loads(Path(os.environ["GITHUB_EVENT_PATH"]).read_bytes())["workflow_run"]
    folder = Path(preview)
    try:
        recipes = read(left(folder, "preview.json"))
        trials = read_trials(left(folder, "trial.json")) if (folder / "trial.json").exists() else ()
    except UntrustedError as error:
        sys.stderr.write(f"This is no preview that the check wrote: {str(error)[:200]!r}\n")
        return 2
    here = GitHub.of_workflow()
    pull = pull_request(here, run)
    if pull is None:
        sys.stdout.write("No open pull request shows the commit that was checked.\n")
        return 0
    show(here, pull, rendered(recipes, trials, pages_of(here, run)))
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))

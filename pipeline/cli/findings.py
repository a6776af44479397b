"""Findings: what a watch found, as texts of pull requests and issues that somebody else opens."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

from pipeline.cli.bump import details
from pipeline.cli.console import hidden
from pipeline.files import disk_errors, write_atomically

if TYPE_CHECKING:
    from pipeline.fleet.bump import Bumped, BumpedPin
    from pipeline.fleet.watch import WatchedRecipe
    from pipeline.fleet.watched import Watched

AT_ONCE: Final = 3  # that are open at a time
MOST: Final = 60_000  # letters of a body; GitHub takes 65,536


Kind = Literal["issue", "bump", "rebuild"]


@dataclass(frozen=True)
class Finding:
    """One thing that somebody has to look at.

    Attributes:
        kind: What is opened for it: an ``issue``, or a pull request that moves a recipe's source (``bump``) or has it
            made again (``rebuild``).
        about: The repository, or the recipe's file.
        title: One line.
        body: Markdown.
        text_of_recipe: What the recipe's file says after the pull request.
    """

    kind: Kind
    about: str
    title: str
    body: str
    text_of_recipe: str = ""

    @property
    def file(self) -> str:
        """The name of its text."""
        return name_of(self.kind, self.about)

    @property
    def text(self) -> str:
        """Title and body, without tokens."""
        body = self.body if len(self.body) <= MOST else f"{self.body[:MOST]}\n…\n"
        return hidden(f"{self.title}\n\n{body}")


def name_of(kind: Kind, about: str) -> str:
    """Return the name of a finding's text, which is the same each time that it is found."""
    return f"{kind}-{re.sub(r'[^A-Za-z0-9_.-]+', '--', about).strip('-.')}.md"


def findings(
    repositories: Iterable[Watched],
    recipes: Iterable[WatchedRecipe],
    made_by: Mapping[str, tuple[str, str]],
    rebuilt: Mapping[str, Bumped],
) -> list[Finding]:
    """Return what somebody has to look at: what does not load first, the oldest first, and a change of license next.

    Args:
        repositories: What was tried.
        recipes: Whose sources were looked at.
        made_by: The recipe and the target by repository, where they are known.
        rebuilt: The recipes of what does not load, each with a build that is to come.
    """
    broken = sorted((each for each in repositories if each.loads is False), key=lambda each: each.since)
    found: dict[str, Finding] = {}
    for each in broken:
        recipe, _ = made_by.get(each.repository, ("", ""))
        of_recipe = [other for other in broken if recipe and made_by.get(other.repository, ("",))[0] == recipe]
        told = [issue(each, made_by.get(each.repository))]
        told += [rebuild(rebuilt[recipe], of_recipe)] if recipe in rebuilt else []
        found |= {one.file: one for one in told}
    moved = sorted((each for each in recipes if each.moved is True), key=lambda each: not relicensed(each.pins))
    return [*found.values(), *(pull_request(each) for each in moved)]


def settled(
    repositories: Sequence[Watched], recipes: Iterable[WatchedRecipe], made_by: Mapping[str, tuple[str, str]]
) -> set[str]:
    """Return the names of all findings that there would be no more, of what could be looked at."""
    names = {name_of("issue", each.repository) for each in repositories if each.in_order}
    names |= {name_of("bump", each.recipe) for each in recipes if each.moved is False}
    for recipe in {path for path, _ in made_by.values()}:
        tried = [each for each in repositories if made_by.get(each.repository, ("",))[0] == recipe]
        if any(not each.absent for each in tried) and all(each.in_order for each in tried):
            names.add(name_of("rebuild", recipe))
    return names


def relicensed(pins: Iterable[BumpedPin]) -> bool:
    """Return whether the license differs in what is to be moved to."""
    return any(pin.differences and pin.differences.license for pin in pins)


def issue(found: Watched, made_by: tuple[str, str] | None) -> Finding:
    """Return the issue that a published repository does not load."""
    names = sorted(found.made.keys() | found.versions.keys())
    rows = [f"| {name} | {found.made.get(name, '')} | {found.versions.get(name, '')} |" for name in names]
    next_one = "make it again with these versions, or withdraw it: `publish yank`."
    if made_by:
        again = f"publish run {made_by[0]} --target {made_by[1]} --rebuild"
        next_one = f"`{again}` makes it again with the versions that are installed, "
        next_one += (
            f"`publish bump --build {made_by[0]}` has all of its recipe made again; `publish yank` withdraws it."
        )
    lines = [
        f"{found.repository}, at commit {found.commit}, {found.fault}. Seen on {found.seen}, first on {found.since}.",
        "",
        *quoted([found.reason]),
        "",
        "| library | made with | tried with |",
        "| --- | --- | --- |",
        *rows,
        "",
        f"Next: `publish watch {found.repository}` tries it on a machine of yours; {next_one}",
    ]
    return Finding("issue", found.repository, f"{found.repository} {found.fault}", "\n".join(lines) + "\n")


def pull_request(found: WatchedRecipe) -> Finding:
    """Return the pull request that moves the source of a recipe."""
    lines = list[str]()
    for pin in (pin for pin in found.pins if pin.moved):
        lines += [f"{pin.repo} ({pin.kind}): {pin.before or 'no commit'} → {pin.after}", ""]
        lines += [*quoted(details(pin)), ""] if details(pin) else []
    lines.append(f"`publish bump {found.recipe}` writes it; `publish plan {found.recipe}` shows what that changes.")
    newest = ", ".join(pin.after[:12] for pin in found.pins if pin.moved)
    title = f"Move {found.recipe} to {newest}"
    return Finding("bump", found.recipe, title, "\n".join(lines) + "\n", found.text)


def rebuild(after: Bumped, broken: Sequence[Watched]) -> Finding:
    """Return the pull request that has a recipe made again, of which some does not load."""
    lines = list[str]()
    for each in broken:
        lines += [f"{each.repository}, at commit {each.commit}, {each.fault}:", "", *quoted([each.reason]), ""]
    lines.append(
        f"`publish bump --build {after.recipe}` writes it. What is made again is what the libraries that make it give."
    )
    return Finding(
        "rebuild",
        after.recipe,
        f"Make {after.recipe} again, as build {after.build}",
        "\n".join(lines) + "\n",
        after.text,
    )


def quoted(lines: Sequence[str]) -> Iterator[str]:
    """Return lines that others wrote so that Markdown takes none of them for its own."""
    return (f"    {line}" for text in lines for line in text.splitlines())


def write_findings(found: Sequence[Finding], folder: Path, done: Collection[str] = ()) -> list[Path]:
    """Write as many findings into a folder as may be open at a time, and return their texts.

    What lies in the folder is open already: it counts, and is written anew where it is found again. Beside the text of
    a pull request lies a folder with the recipe that it proposes, at its place in the working directory.

    Args:
        found: What may be opened, the most urgent first.
        folder: The folder.
        done: The names of texts that are removed, for there is nothing more to it.

    Raises:
        CannotHereError: The disk takes no more.
    """
    with disk_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        for name in done:
            (folder / name).unlink(missing_ok=True)
            shutil.rmtree((folder / name).with_suffix(""), ignore_errors=True)
        there = {path.name for path in folder.glob("*.md")}
        fresh = [each for each in found if each.file not in there][: max(AT_ONCE - len(there), 0)]
        written = [each for each in found if each.file in there or each in fresh]
        for each in written:
            shutil.rmtree((folder / each.file).with_suffix(""), ignore_errors=True)
            write_atomically(folder / each.file, each.text.encode(errors="backslashreplace"))
            place = os.path.relpath(each.about)
            if each.text_of_recipe and not place.startswith(os.pardir):
                recipe = (folder / each.file).with_suffix("") / place
                recipe.parent.mkdir(parents=True, exist_ok=True)
                write_atomically(recipe, each.text_of_recipe.encode())
    return [folder / each.file for each in written]

"""Findings: what a watch found, as texts of pull requests and issues that somebody else opens."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

from pipeline.cli.bump import details
from pipeline.cli.console import hidden
from pipeline.files import disk_errors, write_atomically

if TYPE_CHECKING:
    from pipeline.fleet.bump import BumpedPin
    from pipeline.fleet.watch import WatchedRecipe
    from pipeline.fleet.watched import Watched

AT_ONCE: Final = 3  # that are open at a time
MOST: Final = 60_000  # letters of a body; GitHub takes 65,536


@dataclass(frozen=True)
class Finding:
    """One thing that somebody has to look at.

    Attributes:
        kind: What is opened for it: an ``issue``, or a ``pull`` request.
        about: The repository, or the recipe's file.
        title: One line.
        body: Markdown.
    """

    kind: Literal["issue", "pull"]
    about: str
    title: str
    body: str

    @property
    def file(self) -> str:
        """Its name, which is the same each time that it is found."""
        return f"{self.kind}-{re.sub(r'[^A-Za-z0-9_.-]+', '--', self.about).strip('-.')}.md"

    @property
    def text(self) -> str:
        """Title and body, without tokens."""
        body = self.body if len(self.body) <= MOST else f"{self.body[:MOST]}\n…\n"
        return hidden(f"{self.title}\n\n{body}")


def findings(
    repositories: Iterable[Watched], recipes: Iterable[WatchedRecipe], made_by: Mapping[str, tuple[str, str]]
) -> list[Finding]:
    """Return what somebody has to look at: what does not load first, the oldest first, and a change of license next.

    Args:
        repositories: What was tried.
        recipes: Whose sources were looked at.
        made_by: The recipe and the target by repository, where they are known.
    """
    broken = sorted((each for each in repositories if each.loads is False), key=lambda each: each.since)
    moved = sorted((each for each in recipes if each.moved is True), key=lambda each: not relicensed(each.pins))
    issues = [issue(each, made_by.get(each.repository)) for each in broken]
    return [*issues, *(pull_request(each) for each in moved)]


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
        next_one = f"`{again}` makes it again with the versions that are installed; `publish yank` withdraws it."
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
    return Finding("pull", found.recipe, f"Move {found.recipe} to {newest}", "\n".join(lines) + "\n")


def quoted(lines: Sequence[str]) -> Iterator[str]:
    """Return lines that others wrote so that Markdown takes none of them for its own."""
    return (f"    {line}" for text in lines for line in text.splitlines())


def write_findings(found: Sequence[Finding], folder: Path) -> list[Path]:
    """Write as many findings into a folder as may be open at a time, and return the files that are new.

    What lies in the folder is open already: it counts, and is left as it is.

    Raises:
        CannotHereError: The disk takes no more.
    """
    with disk_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        there = {path.name for path in folder.glob("*.md")}
        fresh = [each for each in found if each.file not in there][: max(AT_ONCE - len(there), 0)]
        for each in fresh:
            write_atomically(folder / each.file, each.text.encode(errors="backslashreplace"))
    return [folder / each.file for each in fresh]

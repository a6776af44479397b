"""Open what a watch found: issues for what does not load, pull requests for recipes to be moved or made again.

Usage: ``findings.py list DIR`` lays an empty text into a folder for everything that is open. ``findings.py open DIR``
opens what the watch wrote there, updates what was open, and closes what the watch took away; at most three are open at
a time, and what somebody closed is not opened again under the same title. The watch ran libraries that nobody
reviewed, so what it wrote is read as data, and `proposal.py` says which changes of files are taken. Needs Python alone.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from urllib.error import HTTPError

from github import OURS, GitHub, UntrustedError, matching, quoted, words
from proposal import CHANGES, changes_in, text_in

AT_ONCE: Final = 3
MOST: Final = 60_000  # characters of a text; GitHub takes 65,536
NAME: Final = re.compile(r"(?:issue|rebuild|bump)-[A-Za-z0-9_][A-Za-z0-9_.-]{0,199}\.md")
TITLE: Final = re.compile(r"[\w ,.:/+()-]{1,250}", re.ASCII)
MARK: Final = re.compile(r"<!-- watch: (\S+) (\w+) -->\r?\n")
LOG: Final = "watch.txt"  # what the watch said, for people
FIRST: Final = ("issue", "rebuild", "bump")
CHECKED = """
Whoever may write here starts its checks with *Approve workflows to run*; where that is not offered, closing and opening
it again starts them. Merged, it is published like any other change of a recipe."""
VERSIONS = """
It raises the versions that everything is made and tested with from then on, to those that the watch had."""
UNRAISED = """
It raises no versions. Where the newest need other packages than are locked, raise them in `constraints.txt` and run
`make lock` before this is merged, or the same comes of it."""


@dataclass(frozen=True)
class Finding:
    """One thing to be opened.

    Attributes:
        name: The name of its text.
        title: One line; empty where the watch found it open and knows nothing new.
        text: The watch's words.
        changes: The files that a pull request changes; without any it is an issue.
    """

    name: str
    title: str = ""
    text: str = ""
    changes: dict[str, str] = field(default_factory=dict)

    @property
    def branch(self) -> str:
        """The branch of a pull request."""
        return f"watch/{self.name.removesuffix('.md')}"

    @property
    def digest(self) -> str:
        """What names its changes, so that a branch is written anew only where they are others."""
        return hashlib.sha256(json.dumps(self.changes, sort_keys=True).encode()).hexdigest()[:16]

    @property
    def body(self) -> str:
        """What is shown, with the mark by which it is found again."""
        raised = VERSIONS if len(self.changes) > 1 else UNRAISED
        further = (raised if self.name.startswith("rebuild-") else "") + CHECKED if self.changes else ""
        return f"<!-- watch: {self.name} {self.digest} -->\n{quoted(self.text)}\n{further}".rstrip()


def read(folder: Path, checkout: Path) -> Iterator[Finding | UntrustedError]:
    """Read what a watch wrote, what is broken first.

    Args:
        folder: Where it lies.
        checkout: The files as they are on main.
    """
    there = sorted(folder.iterdir())
    if len(there) > 2 * AT_ONCE + 10:
        yield UntrustedError("too many files")
        return
    folders = {path.name for path in there if path.is_dir() and not path.is_symlink()}
    texts = [path for path in there if path.name not in folders and path.name != LOG]
    for path in sorted(texts, key=lambda path: [path.name.startswith(kind) for kind in FIRST], reverse=True):
        try:
            yield finding(path, checkout)
        except UntrustedError as error:
            yield error


def finding(path: Path, checkout: Path) -> Finding:
    """Read one finding.

    Raises:
        UntrustedError: The watch would not have written it.
    """
    name = matching(path.name, NAME)
    if path.is_symlink() or not path.is_file():
        raise UntrustedError(f"no file: {name!r}")
    title, _, text = words(text_in(path), 2 * MOST).partition("\n")
    if not title:
        return Finding(name)
    title, text = matching(title, TITLE), text.strip("\n")[:MOST]
    if name.startswith("issue-"):
        return Finding(name, title, text)
    changes = changes_in(path.with_suffix(""), checkout)
    _, _, about = name.removesuffix(".md").partition("-")
    lists = changes.keys() & CHANGES.keys()
    recipes = changes.keys() - lists
    if any(called(file) != about for file in recipes) or (lists and not (recipes and name.startswith("rebuild-"))):
        raise UntrustedError(f"{sorted(changes)} in {name!r}")
    return Finding(name, title, text, changes)


def called(path: str) -> str:
    """Return what a recipe is called in names of texts."""
    return re.sub(r"[^A-Za-z0-9_.-]+", "--", path).strip("-.")


def opened(here: GitHub) -> tuple[dict[str, dict[str, Any]], set[str]]:
    """Return what a watch opened and is open, by the name of its text, and the titles of what others closed."""
    found, closed = {}, set()
    for one in here.all("/issues", state="all", creator=OURS):
        mark = MARK.match(one["body"] or "")
        if mark is None or one["user"]["login"] != OURS or not NAME.fullmatch(mark[1]):
            continue
        if one["state"] == "open":
            found[mark[1]] = one
        elif mark[2] != "settled":
            closed.add(one["title"])
    return found, closed


def settle(here: GitHub, name: str, one: dict[str, Any]) -> None:
    """Close what the watch finds no more."""
    body = MARK.sub(f"<!-- watch: {name} settled -->\n", one["body"], count=1)
    change = {"body": f"{body}\n\nA later watch found no more of it.", "state": "closed"}
    here.ask("PATCH", f"/issues/{one['number']}", change)


def update(here: GitHub, found: Finding, one: dict[str, Any]) -> None:
    """Bring what is open up to date, but for a branch on which somebody else went on."""
    before = MARK.match(one["body"])
    if found.changes and before and before[2] != found.digest and not push(here, found):
        return
    if (one["title"], one["body"]) != (found.title, found.body):
        here.ask("PATCH", f"/issues/{one['number']}", {"title": found.title, "body": found.body})


def open_anew(here: GitHub, found: Finding) -> None:
    """Open an issue, or a pull request with a branch of one commit."""
    content = {"title": found.title, "body": found.body}
    if not found.changes:
        here.ask("POST", "/issues", content)
    elif push(here, found):
        here.ask("POST", "/pulls", {**content, "head": found.branch, "base": "main"})


def push(here: GitHub, found: Finding) -> bool:
    """Make a branch of one commit upon the main that was checked out; return False where it is somebody else's."""
    ref, main = f"refs/heads/{found.branch}", os.environ["GITHUB_SHA"]
    refs = here.ask("GET", f"/git/matching-refs/heads/{found.branch}")
    head = next((one["object"]["sha"] for one in refs if one["ref"] == ref), None)
    if head and (here.ask("GET", f"/commits/{head}")["author"] or {}).get("login") != OURS:
        sys.stdout.write(f"{found.title}: somebody else went on with {found.branch}, and it is left.\n")
        return False
    files = [{"path": path, "content": found.changes[path]} for path in sorted(found.changes)]
    tree = {
        "base_tree": here.ask("GET", f"/git/commits/{main}")["tree"]["sha"],
        "tree": [{**file, "mode": "100644", "type": "blob"} for file in files],
    }
    made = {"message": found.title, "tree": here.ask("POST", "/git/trees", tree)["sha"], "parents": [main]}
    commit = here.ask("POST", "/git/commits", made)["sha"]
    if head:
        here.ask("PATCH", f"/git/{ref}", {"sha": commit, "force": True})
    else:
        here.ask("POST", "/git/refs", {"ref": ref, "sha": commit})
    return True


def bring_up_to_date(here: GitHub, there: list[Finding | UntrustedError]) -> int:
    """Open, update and close.

    Returns:
        The exit code: 2 where something is not what a watch writes, 9 where GitHub refused, else 0.
    """
    code, (standing, closed) = 0, opened(here)
    for error in (one for one in there if isinstance(one, UntrustedError)):
        sys.stderr.write(f"::error::This is nothing that a watch wrote: {str(error)[:200]!r}\n")
        code = 2
    found = {one.name: one for one in there if isinstance(one, Finding)}
    if code == 0:
        for name in standing.keys() - found.keys():
            settle(here, name, standing.pop(name))
    for name, one in found.items():
        try:
            if one.title and name in standing:
                update(here, one, standing[name])
            elif one.title in closed:
                sys.stdout.write(f"{one.title}: somebody closed that, and it is not opened again.\n")
            elif one.title and len(standing) < AT_ONCE:
                open_anew(here, one)
                standing[name] = {}
        except HTTPError as error:
            sys.stderr.write(f"{one.title}: {refused(error)}\n")
            code = 9
    return code


def refused(error: HTTPError) -> str:
    """Return what GitHub said, and what to do."""
    remedy = "Pull requests of workflows have to be allowed in the repository's settings, under Actions, General."
    return f"GitHub answered {error.code} to {error.url}: {error.read()[:500].decode(errors='replace')!r}. {remedy}"


def main(verb: str, folder: str) -> int:
    """List or open, and return the exit code."""
    here, place = GitHub.of_workflow(), Path(folder)
    if verb == "open":
        return bring_up_to_date(here, list(read(place, Path())))
    place.mkdir(parents=True, exist_ok=True)
    for name in opened(here)[0]:
        (place / name).touch()
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))

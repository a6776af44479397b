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
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from urllib.error import HTTPError

from github import OURS, GitHub, UntrustedError, matching, quoted, words
from proposal import CHANGES, changes_in, text_in

AT_ONCE: Final = 3
MOST: Final = 60_000  # characters of a text; GitHub takes 65,536
NAME: Final = re.compile(r"(?:issue|rebuild|bump)-[A-Za-z0-9_][A-Za-z0-9_.-]{0,199}\.md")
TITLE: Final = re.compile(r"[\w/][\w ,.:/+()-]{0,249}", re.ASCII)
MARK: Final = re.compile(r"<!-- watch: (\S+) (\w+)(?: ([0-9a-f]{40}))? -->\r?\n")  # with the commit of a branch
LOG: Final = "watch.txt"  # what the watch said, for people
FIRST: Final = ("issue", "rebuild", "bump")
CHECKED = """
What stands above is the watch's word; `publish bump --check-only` says whether a commit is the newest of its source.
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
        raises: Whether versions are among them.
    """

    name: str
    title: str = ""
    text: str = ""
    changes: dict[str, str] = field(default_factory=dict)
    raises: bool = False

    @property
    def branch(self) -> str:
        """The branch of a pull request."""
        return f"watch/{self.name.removesuffix('.md')}"

    @property
    def digest(self) -> str:
        """What names its changes, so that a branch is written anew only where they are others."""
        return hashlib.sha256(json.dumps(self.changes, sort_keys=True).encode()).hexdigest()[:16]

    def body(self, commit: str = "") -> str:
        """Return what is shown, with the mark by which it is found again, and its branch where that is still ours."""
        raised = VERSIONS if self.raises else UNRAISED
        further = (raised if self.name.startswith("rebuild-") else "") + CHECKED if self.changes else ""
        mark = f"<!-- watch: {self.name} {self.digest}{f' {commit}' if commit else ''} -->"
        return f"{mark}\n{quoted(self.text)}\n{further}".rstrip()


def read(folder: Path, checkout: Path) -> dict[str, Finding | UntrustedError]:
    """Read what a watch wrote, by the names of its texts, what is broken first.

    Args:
        folder: Where it lies.
        checkout: The files as they are on main.

    Raises:
        UntrustedError: There is more than a watch writes.
    """
    there = sorted(folder.iterdir())
    if len(there) > 2 * AT_ONCE + 10:
        raise UntrustedError("too many files")
    folders = {path.name for path in there if path.is_dir() and not path.is_symlink()}
    texts = [path for path in there if path.name not in folders and path.name != LOG]
    found: dict[str, Finding | UntrustedError] = {}
    for path in sorted(texts, key=lambda path: [path.name.startswith(kind) for kind in FIRST], reverse=True):
        try:
            found[path.name] = finding(path, checkout)
        except UntrustedError as error:
            found[path.name] = error
    return found


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
    if len(quoted(text)) > MOST + 100:
        raise UntrustedError(f"a fence of {len(quoted(text))} characters in {name!r}")
    if name.startswith("issue-"):
        return Finding(name, title, text)
    changes = changes_in(path.with_suffix(""), checkout)
    _, _, about = name.removesuffix(".md").partition("-")
    lists = changes.keys() & CHANGES.keys()
    recipes = changes.keys() - lists
    if any(called(file) != about for file in recipes) or (lists and not (recipes and name.startswith("rebuild-"))):
        raise UntrustedError(f"{sorted(changes)} in {name!r}")
    return Finding(name, title, text, changes, raises=bool(lists))


def called(path: str) -> str:
    """Return what a recipe is called in names of texts."""
    return re.sub(r"[^A-Za-z0-9_.-]+", "--", path).strip("-.")


@dataclass(frozen=True)
class Standing:
    """What a watch opened before.

    Attributes:
        open: What is open, by the name of its text.
        closed: The titles of what others closed, and did not merge.
        commits: Those that it made for branches.
    """

    open: dict[str, dict[str, Any]]
    closed: set[str]
    commits: set[str]


def standing(here: GitHub) -> Standing:
    """Return what a watch opened before."""
    found = Standing({}, set(), set())
    for one in here.all("/issues", state="all", creator=OURS):
        mark = MARK.match(one["body"] or "")
        if mark is None or (one["user"] or {}).get("login") != OURS or not NAME.fullmatch(mark[1]):
            continue
        found.commits.update({mark[3]} if mark[3] else ())
        if one["state"] == "open":
            found.open[mark[1]] = one
        elif mark[2] != "settled" and not (one.get("pull_request") or {}).get("merged_at"):
            found.closed.add(one["title"])
    return found


def settle(here: GitHub, name: str, one: dict[str, Any]) -> None:
    """Close what the watch finds no more."""
    before = MARK.match(one["body"])
    commit = f" {before[3]}" if before and before[3] else ""
    body = MARK.sub(f"<!-- watch: {name} settled{commit} -->\n", one["body"], count=1)
    change = {"body": f"{body}\n\nA later watch found no more of it.", "state": "closed"}
    here.ask("PATCH", f"/issues/{one['number']}", change)


def update(here: GitHub, found: Finding, one: dict[str, Any], commits: set[str]) -> None:
    """Bring what is open up to date, but for a branch on which somebody else went on."""
    before = MARK.match(one["body"])
    commit = before[3] or "" if before else ""
    if found.changes and before and before[2] != found.digest:
        commit = push(here, found, commits)
        if not commit:
            return
    if (one["title"], one["body"]) != (found.title, found.body(commit)):
        here.ask("PATCH", f"/issues/{one['number']}", {"title": found.title, "body": found.body(commit)})


def open_anew(here: GitHub, found: Finding, commits: set[str]) -> None:
    """Open an issue, or a pull request with a branch of one commit."""
    if not found.changes:
        here.ask("POST", "/issues", {"title": found.title, "body": found.body()})
    elif commit := push(here, found, commits):
        content = {"title": found.title, "body": found.body(commit), "head": found.branch, "base": "main"}
        try:
            here.ask("POST", "/pulls", content)
        except HTTPError:
            here.ask("DELETE", f"/git/refs/heads/{found.branch}")  # for nothing would say that it is ours
            raise


def push(here: GitHub, found: Finding, commits: set[str]) -> str:
    """Make a branch of one commit upon the main that was checked out, and return the commit.

    Nothing is written over what somebody else made of the branch: then it is empty.

    Args:
        here: The repository.
        found: What is proposed.
        commits: Those that watches made before.
    """
    ref, main = f"refs/heads/{found.branch}", os.environ["GITHUB_SHA"]
    refs = here.ask("GET", f"/git/matching-refs/heads/{found.branch}")
    head = next((one["object"]["sha"] for one in refs if one["ref"] == ref), None)
    if head and head not in commits:
        sys.stdout.write(f"{found.title}: somebody else went on with {found.branch}, and it is left.\n")
        return ""
    files = [{"path": path, "content": found.changes[path]} for path in sorted(found.changes)]
    tree = {
        "base_tree": here.ask("GET", f"/git/commits/{main}")["tree"]["sha"],
        "tree": [{**file, "mode": "100644", "type": "blob"} for file in files],
    }
    made = {"message": found.title, "tree": here.ask("POST", "/git/trees", tree)["sha"], "parents": [main]}
    commit = str(here.ask("POST", "/git/commits", made)["sha"])
    if head:
        here.ask("PATCH", f"/git/{ref}", {"sha": commit, "force": True})
    else:
        here.ask("POST", "/git/refs", {"ref": ref, "sha": commit})
    return commit


def bring_up_to_date(here: GitHub, there: dict[str, Finding | UntrustedError]) -> int:
    """Open, update and close; what fails keeps nothing else from it.

    Returns:
        The exit code: 2 where something is not what a watch writes, 9 where GitHub refused, else 0.
    """
    before = standing(here)
    strange = any(isinstance(one, UntrustedError) for one in there.values())
    gone = {name: one for name, one in before.open.items() if name not in there and not strange}
    turned = {
        name: one
        for name, one in before.open.items()
        if isinstance(found := there.get(name), Finding) and found.title and bool(found.changes) != pulled(one)
    }
    codes = [attempt(one["title"], settle, here, name, one) for name, one in {**gone, **turned}.items()]
    now = {name: one for name, one in before.open.items() if name not in gone and name not in turned}
    for name, found in there.items():
        if isinstance(found, UntrustedError):
            tell_of(found)
            codes.append(2)
        elif found.title and name in now:
            codes.append(attempt(found.title, update, here, found, now[name], before.commits))
        elif found.title in before.closed:
            sys.stdout.write(f"{found.title}: somebody closed that, and it is not opened again.\n")
        elif found.title and len(now) < AT_ONCE:
            codes.append(code := attempt(found.title, open_anew, here, found, before.commits))
            now |= {} if code else {name: {}}
    return 2 if 2 in codes else max(codes, default=0)


def tell_of(error: UntrustedError) -> None:
    """Tell of something that no watch wrote."""
    sys.stderr.write(f"::error::This is nothing that a watch wrote: {str(error)[:200]!r}\n")


def pulled(one: dict[str, Any]) -> bool:
    """Return whether something that is open is a pull request."""
    return "pull_request" in one


def attempt(title: str, do: Callable[..., None], *given: Any) -> int:
    """Do something on GitHub, and return the exit code; what went wrong is told."""
    try:
        do(*given)
    except HTTPError as error:
        sys.stderr.write(f"{title}: {refused(error)}\n")
        return 9
    except (OSError, ValueError) as error:
        sys.stderr.write(f"{title}: GitHub did not answer: {error}. Run the workflow again.\n")
        return 9
    return 0


def refused(error: HTTPError) -> str:
    """Return what GitHub said, and what to do."""
    remedy = "Pull requests of workflows have to be allowed in the repository's settings, under Actions, General."
    return f"GitHub answered {error.code} to {error.url}: {error.read()[:500].decode(errors='replace')!r}. {remedy}"


def main(verb: str, folder: str) -> int:
    """List or open, and return the exit code."""
    here, place = GitHub.of_workflow(), Path(folder)
    if verb == "open":
        try:
            there = read(place, Path())
        except UntrustedError as error:
            tell_of(error)
            return 2
        return bring_up_to_date(here, there)
    place.mkdir(parents=True, exist_ok=True)
    for name in standing(here).open:
        (place / name).touch()
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))

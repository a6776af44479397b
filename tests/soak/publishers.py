"""Eight processes that publish to one repository at once, and what the Hub shows afterwards.

``python -m tests.soak.publishers --rounds 20`` lets them meet in turn with one content, with eight, and with four that
two have each; at the start, or where each holds a proven pull request and is about to promote it. ``--only 4`` replays
one round.
"""

from __future__ import annotations

import argparse
import json
import logging
import multiprocessing
import sys
import time
from dataclasses import asdict, dataclass
from functools import partial
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import NamedTuple

from tests.matrix.release import REPO, build
from tests.soak.processes import World, world

PUBLISHERS = 8
PATIENCE = 60  # seconds until somebody who does not come is missed
OVERTAKEN = 8


class Round(NamedTuple):
    """How publishers meet.

    Attributes:
        number: Which round it is.
        contents: How many different contents there are.
        proven: Whether they wait for each other before they promote, instead of only at the start.
        xet: Whether large files go by Xet.
    """

    number: int
    contents: int
    proven: bool
    xet: bool


@dataclass(frozen=True)
class Meeting:
    """What became of a round.

    Attributes:
        codes: The exit codes of the publishers.
        commits: Commits on ``main`` after the first one, after they met.
        pulls: Pull requests that were opened.
        wrong: What is not as it should be.
    """

    number: int
    contents: int
    proven: bool
    way: str
    codes: list[int]
    commits: int
    pulls: int
    seconds: float
    wrong: str
    replay: str


@dataclass(frozen=True)
class Shown:
    """What a repository shows: titles of its commits, the newest first, what each tag names, and pull requests."""

    titles: list[str]
    tagged: dict[str, str]
    pulls: list[str]

    @property
    def published(self) -> list[str]:
        """The contents, by what their commits call them, the oldest first."""
        return [title.split()[1] for title in reversed(self.titles) if title.startswith("Publish")]

    @property
    def all_tagged(self) -> bool:
        """Whether v1, v2, ... are the contents in their order, and no more."""
        return self.tagged == {f"v{number}": name for number, name in enumerate(self.published, 1)}


def shown(here: World) -> Shown:
    """Return what somebody sees who looks at the repository."""
    api = here.look().api
    commits = list(api.list_repo_commits(REPO))
    names = {commit.commit_id: commit.title.split()[1] for commit in commits}
    tags = {tag.name: names.get(tag.target_commit, "no commit of main") for tag in api.list_repo_refs(REPO).tags}
    pulls = [talk.status for talk in api.get_repo_discussions(REPO, discussion_type="pull_request")]
    return Shown([commit.title for commit in commits], tags, pulls)


def meet(which: Round) -> Meeting:
    """Let publishers meet once, then let those who lost publish one after the other."""
    began = time.monotonic()
    barrier: Barrier = multiprocessing.get_context("fork").Barrier(PUBLISHERS)
    with world(xet=which.xet) as here:
        names = [f"content-{number}" for number in range(which.contents)]
        folders = [build(here.home / name, name) for name in names]
        who = {f"publisher-{number}": folders[number % which.contents] for number in range(PUBLISHERS)}
        wait = partial(barrier.wait, PATIENCE)
        for name, folder in who.items():
            here.publish(folder, name, **{"trial" if which.proven else "first": wait})
        ended = {name: here.end(name) for name in who}
        met = shown(here)
        wrong = judge(which, {name: (who[name].name, *end) for name, end in ended.items()}, met)
        wrong = wrong or go_on(here, {name: who[name] for name, (code, _) in ended.items() if code}, met)
    codes = sorted(code for code, _ in ended.values())
    took, way = round(time.monotonic() - began, 2), "xet" if which.xet else "lfs"
    commits, pulls = len(met.published), len(met.pulls)
    replay = f"--only {which.number}"
    return Meeting(which.number, which.contents, which.proven, way, codes, commits, pulls, took, wrong, replay)


def judge(which: Round, ended: dict[str, tuple[str, int, str]], met: Shown) -> str:
    """Return what is wrong after publishers met, who ended with a content, an exit code and what was told."""
    codes = [code for _, code, _ in ended.values()]
    won = {content for content, code, _ in ended.values() if code == 0}
    winners = PUBLISHERS // which.contents
    checks = {
        f"they end with {ended}": not set(codes) - {0, OVERTAKEN},
        f"a loser does not hear who published what: {ended}": all(
            "Publish content-" in told for _, code, told in ended.values() if code
        ),
        f"{sorted(won)} won and the commits are {met.titles}": sorted(won) == sorted(met.published),
        f"the tags are {met.tagged} and the commits {met.titles}": met.all_tagged,
        f"pull requests are left {met.pulls}": set(met.pulls) <= {"closed"},
        f"{codes.count(0)} end well": codes.count(0) == winners or not (which.proven or which.contents == 1),
    }
    return next((wrong for wrong, holds in checks.items() if not holds), "")


def go_on(here: World, losers: dict[str, Path], met: Shown) -> str:
    """Run those who lost one after the other, and return what is wrong then: each content comes on top, once."""
    expected = list(met.published)
    for name, folder in losers.items():
        here.publish(folder, name)
        code, told = here.end(name)
        if code:
            return f"{name} ends with {code} when it runs again alone: {told}"
        expected += [folder.name] if expected[-1] != folder.name else []
    now = shown(here)
    if now.published != expected or not now.all_tagged or set(now.pulls) - {"closed"}:
        return f"in the end there are {now}, expected were {expected}"
    return ""


def rounds(count: int) -> list[Round]:
    """Return rounds that differ in everything."""
    kinds = [(contents, proven) for proven in (True, False) for contents in (1, PUBLISHERS, PUBLISHERS // 2)]
    return [Round(number, *kinds[number % len(kinds)], xet=number // len(kinds) % 2 == 0) for number in range(count)]


def run(which: Round) -> Meeting:
    logging.disable(logging.WARNING)
    return meet(which)


def main() -> int:
    """Print a line a round as JSON; end with 1 if anything is wrong."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--only", type=int, help="one round by its number")
    chosen = parser.parse_args()
    wanted = rounds(chosen.rounds) if chosen.only is None else rounds(chosen.only + 1)[-1:]
    bad = 0
    with multiprocessing.get_context("fork").Pool(1, maxtasksperchild=1) as pool:
        for meeting in pool.imap(run, wanted):
            sys.stdout.write(json.dumps(asdict(meeting)) + "\n")
            sys.stdout.flush()
            bad += bool(meeting.wrong)
    sys.stderr.write(f"{len(wanted)} rounds, wrong {bad}\n")
    return bool(bad)


if __name__ == "__main__":
    sys.exit(main())

"""The whole command on a small source: run once undisturbed, then killed at a moment of it and run again."""

from __future__ import annotations

import json
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from localhub.faults import Faults, Seen
from localhub.server import running
from pipeline.files import ListedFile
from pipeline.hub.client import Hub
from tests.desk import REPO, TOKENS, Desk, Shelf
from tests.faults.test_interruption import remaining, seals
from tests.soak.journals import repeated
from tests.soak.processes import pause

TARGET = "alice/tiny-one"
# How long a picture took stands in the report and the card, so their bytes and what lists those are a run's own.
MEASURED = {"README.md", "publish/report.json", "publish/provenance.json", "publish/manifest.json"}
CARD = b"---\nlicense: apache-2.0\npipeline_tag: text-to-image\n---\n# Tiny\n"


@dataclass(frozen=True)
class Undisturbed:
    """A run that nobody killed.

    Attributes:
        folder: A desk and a Hub as they were before it.
        commit: The source's commit.
        port: The Hub's port, the same for every run: it stands in what is published.
        times: Seconds from the start to each line of ``--json``.
        tree: What was published.
        left: What it left where results are made.
    """

    folder: Path
    commit: str
    port: int
    times: list[float]
    tree: dict[str, ListedFile]
    left: list[str]


@dataclass(frozen=True)
class Interrupted:
    """How far a command had come that was killed, and what is wrong after the one that followed."""

    stage: str
    line: int
    wait: float
    wrong: str


@contextmanager
def opened(folder: Path, commit: str = "", port: int = 0) -> Iterator[tuple[Desk, list[str]]]:
    """Run the Hub of a folder; give who publishes to it and the requests that come."""
    requests: list[str] = []

    def told(seen: Seen) -> None:
        requests.append(f"{seen.method} {seen.path}")

    with running(folder / "hub", port, TOKENS, faults=Faults(told=told)) as endpoint:
        (folder / "tmp").mkdir(exist_ok=True)
        shelf, temporary = Shelf(endpoint, folder / "hub", commit), {"TMPDIR": str(folder / "tmp")}
        yield Desk(folder / "desk", shelf, folder / "home", extra=temporary), requests


def stock(source: Path, folder: Path) -> str:
    """Put a source on a new Hub and return its commit."""
    (folder / "desk").mkdir(parents=True)
    files = {path.relative_to(source).as_posix(): path.read_bytes() for path in source.rglob("*") if path.is_file()}
    with opened(folder) as (desk, _):
        desk.shelf.api.create_repo(REPO)
        return desk.shelf.commit_files({**files, "README.md": CARD})


def undisturbed(source: Path, room: Path, answers: Path | None = None) -> Undisturbed:
    """Run the command in a room of its own, where nobody kills it.

    Args:
        source: The folder of the source's pipeline.
        room: An empty folder.
        answers: What libraries said before, if they are not to be asked again.
    """
    commit = stock(source, room / "before")
    if answers is not None:
        shutil.copytree(answers, room / "before" / "home" / "answers")
    shutil.copytree(room / "before", room / "undisturbed", symlinks=True)
    with opened(room / "undisturbed", commit) as (desk, _):
        began = time.monotonic()
        child = desk.start("--json", "run", desk.recipe())
        times = [time.monotonic() - began for _ in child.stdout or ()]
        _, told = child.communicate()
        assert child.returncode == 0, told
        port = int(desk.shelf.endpoint.rpartition(":")[2])
        tree = Hub(desk.shelf.endpoint, token="alice").tree(TARGET, "main")
        return Undisturbed(room / "before", commit, port, times, tree, making(desk))


def interrupt(calm: Undisturbed, room: Path, part: float, later: float) -> Interrupted:
    """Kill a run after a part of its lines and a part of the time until the next one, then run the command again."""
    line = int(part * len(calm.times))
    wait = later * (calm.times[line] - (calm.times[line - 1] if line else 0.0))
    shutil.copytree(calm.folder, room, symlinks=True)
    with opened(room, calm.commit, calm.port) as (desk, requests):
        recipe = desk.recipe()
        lines = killed(desk.start("--json", "run", recipe), line, wait)
        outlived, sealed, before = remaining(desk), seals(desk.home), list(requests)
        done = desk.publish("--json", "run", recipe)
        after, now = requests[len(before) :], seals(desk.home)
        touched = [path.name for path in sealed if now.get(path) != sealed[path]]
        checks = {
            f"it ends with {done.code}: {done.error}": done.code == 0,
            f"processes outlive it: {outlived}": not outlived,
            f"sealed results were made again: {touched}": not touched,
            f"done again: {repeated(before, after)}": not repeated(before, after),
        }
        wrong = next((wrong for wrong, holds in checks.items() if not holds), "") or look(desk, calm)
    stages = [said["stage"] for said in lines if said.get("event") == "started"]
    return Interrupted(stages[-1] if stages else "begin", line, wait, wrong)


def killed(child: subprocess.Popen[str], line: int, wait: float) -> list[dict[str, Any]]:
    """Kill a run after some lines and seconds, and return the lines."""
    lines = [json.loads(text) for _, text in zip(range(line), child.stdout or (), strict=False)]
    pause(wait)
    child.kill()
    child.communicate(timeout=60)
    return lines


def look(desk: Desk, calm: Undisturbed) -> str:
    """Return what is wrong on the Hub and in the home, beside a run that nobody killed."""
    shelf, hub = desk.shelf, Hub(desk.shelf.endpoint, token="alice")
    refs = shelf.api.list_repo_refs(TARGET)
    tags = {tag.name: tag.target_commit for tag in refs.tags}
    tree = hub.tree(TARGET, "main")
    different = {name for name in tree.keys() | calm.tree.keys() if tree.get(name) != calm.tree.get(name)}
    other = sorted(different - (MEASURED & tree.keys() & calm.tree.keys()))
    checks = {
        f"other bytes in {other}": not other,
        f"commits {shelf.history(TARGET)}": len(shelf.history(TARGET)) == 2,
        f"tags {tags}": tags == {"v1": refs.branches[0].target_commit},
        f"pull requests {shelf.pulls(TARGET)}": shelf.pulls(TARGET) in ([], ["closed"]),
        f"left behind {making(desk)}": making(desk) == calm.left,
    }
    return next((wrong for wrong, holds in checks.items() if not holds), "")


def making(desk: Desk) -> list[str]:
    """Return what lies where results are made."""
    return sorted(path.name for path in (desk.home / "store" / "making").rglob("*") if path.is_file())

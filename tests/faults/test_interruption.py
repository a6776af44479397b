"""An interrupted run leaves nothing behind and the next one continues: what is finished is never done again."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.desk import TWO, Desk, Done, Shelf, opened

ONE, SECOND = "alice/tiny-one", "alice/tiny-two"
Seen = Callable[[dict[str, Any]], bool]


@dataclass
class Journey:
    """Two targets on their way: killed in the release of the first, Ctrl-C in the second, then left to finish.

    Attributes:
        desk: Where it happened; its Hub still runs.
        recipe: What was run.
        killed: Status of the pull requests of the first target after SIGKILL, and its history.
        interrupted: How the run ended that got Ctrl-C.
        left: Processes that were still there a moment after each interruption.
        sealed: Inode and time of every sealed file after Ctrl-C.
        finished: The last run.
    """

    desk: Desk
    recipe: Path
    killed: tuple[list[str], list[str]]
    interrupted: Done
    left: list[str]
    sealed: dict[Path, tuple[int, int]]
    finished: Done


@pytest.fixture(scope="module")
def journey(stocked: Shelf, ready: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Journey]:
    folder = tmp_path_factory.mktemp("journey")
    shutil.copytree(stocked.root, folder / "hub", symlinks=True)
    shutil.copytree(ready, folder / "home")
    with opened(folder / "hub", stocked) as shelf:
        (folder / "tmp").mkdir()
        desk = Desk(folder, shelf, folder / "home", extra={"TMPDIR": str(folder / "tmp")})
        recipe = desk.recipe(TWO)
        interrupt(desk, recipe, signal.SIGKILL, lambda line: line.get("text", "").startswith("every byte"))
        left = remaining(desk)
        killed = (shelf.pulls(ONE), shelf.history(ONE))
        interrupted = interrupt(desk, recipe, signal.SIGINT, lambda line: is_event(line, "started", "validate", "two"))
        left += remaining(desk)
        sealed = seals(desk.home)
        yield Journey(desk, recipe, killed, interrupted, left, sealed, desk.publish("--json", "run", recipe))


def interrupt(desk: Desk, recipe: Path, number: signal.Signals, when: Seen) -> Done:
    """Start a run, wait for an event and for the process that it leads to, and send a signal."""
    child = desk.start("--json", "run", recipe)
    lines = []
    for line in child.stdout or ():
        lines.append(line)
        if when(json.loads(line)):
            break
    deadline = time.monotonic() + 60
    while number == signal.SIGINT and not consumers(desk) and time.monotonic() < deadline:
        time.sleep(0.05)
    child.send_signal(number)
    _, err = child.communicate(timeout=60)
    return Done(child.returncode, "".join(lines), err)


def processes(desk: Desk) -> list[str]:
    """Return the command lines of processes that work for this desk: in its home, or in its temporary folder."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            environment = (process / "environ").read_text(errors="replace")
            if any(place in environment for place in (str(desk.home), desk.extra.get("TMPDIR", str(desk.home)))):
                found.append((process / "cmdline").read_text().replace("\0", " "))
        except OSError:
            continue
    return found


def consumers(desk: Desk) -> list[str]:
    return [command for command in processes(desk) if "consumer" in command]


def remaining(desk: Desk) -> list[str]:
    """Return what is still there after the moment that it takes to see that the parent is gone."""
    deadline = time.monotonic() + 10
    while processes(desk) and time.monotonic() < deadline:
        time.sleep(0.1)
    return processes(desk)


def seals(home: Path) -> dict[Path, tuple[int, int]]:
    """Return inode and time of every file of a sealed result."""
    stages = ("fetch", "checkpoint", "reference", "answers", "report", "release")
    files = [path for stage in stages for path in (home / "store" / stage).rglob("*") if path.is_file()]
    return {path: (path.stat().st_ino, path.stat().st_mtime_ns) for path in files}


def is_event(line: dict[str, Any], kind: str, stage: str, subject: str) -> bool:
    return (line.get("event"), line.get("stage"), line.get("subject")) == (kind, stage, subject)


def stages_of(done: Done, target: str) -> list[str]:
    return [line["stage"] for line in done.lines if line.get("event") == "started" and line["subject"] == target]


def test_a_killed_release_shows_nothing_on_main(journey: Journey) -> None:
    assert journey.killed == (["open"], ["initial commit"])


def test_a_pull_request_that_was_left_is_finished_instead_of_opening_another(journey: Journey) -> None:
    assert journey.desk.shelf.pulls(ONE) == ["closed"]
    assert journey.desk.shelf.tags(ONE) == ["v1"]


def test_ctrl_c_ends_with_130_and_says_how_to_go_on(journey: Journey) -> None:
    assert journey.interrupted.code == 130
    assert journey.interrupted.err.splitlines()[-1] == "interrupted; the same command continues where it stopped"
    assert "Traceback" not in journey.interrupted.err


def test_no_process_outlives_the_command(journey: Journey) -> None:
    assert journey.left == []


def test_the_next_run_finishes_and_repeats_nothing(journey: Journey) -> None:
    done = journey.finished
    assert done.code == 0, done.err
    assert any(is_event(line, "skipped", "run", "one") for line in done.lines)
    assert stages_of(done, "one") == ["plan"]
    assert [result["state"] for result in done.lines[-1]["result"]] == ["unchanged", "published"]
    assert journey.desk.shelf.tags(SECOND) == ["v1"]
    now = seals(journey.desk.home)
    assert {path: now.get(path) for path in journey.sealed} == journey.sealed


def test_a_run_with_nothing_changed_sends_nothing_and_needs_no_torch(journey: Journey) -> None:
    desk, before = journey.desk, everything(journey.desk)
    done = desk.publish("--json", "run", journey.recipe, python=("-X", "importtime"))
    assert done.code == 0
    assert [result["state"] for result in done.lines[-1]["result"]] == ["unchanged", "unchanged"]
    assert everything(desk) == before
    imported = {line.rpartition("|")[2].strip() for line in done.err.splitlines() if line.startswith("import time:")}
    assert "pipeline.run" in imported
    assert "torch" not in imported


def everything(desk: Desk) -> dict[Path, bytes]:
    """Return all that the Hub keeps: objects, commits, tags, pull requests."""
    kept = [path for part in ("objects", "repos") for path in (desk.shelf.root / part).rglob("*") if path.is_file()]
    return {path: path.read_bytes() for path in kept}


def test_what_is_published_asks_for_no_right_to_write(journey: Journey) -> None:
    desk = Desk(journey.desk.folder, journey.desk.shelf, journey.desk.home, token="carol")
    assert desk.publish("run", journey.recipe).code == 0


def test_a_process_that_was_killed_is_seen(journey: Journey) -> None:
    """The search for processes finds one that is there."""
    with subprocess.Popen(["sleep", "60"], env=journey.desk.environment) as child:
        deadline = time.monotonic() + 10
        while not processes(journey.desk) and time.monotonic() < deadline:
            time.sleep(0.05)
        found = processes(journey.desk)
        child.kill()
    assert found == ["sleep 60 "]

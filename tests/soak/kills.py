"""SIGKILL at moments of a run that come again with the seed, then the same run until it is done.

``python -m tests.soak.kills --kills 200 --seed 0`` kills releases, and now and then a whole ``publish run``; ``--hubs``
kills the Hub below a release instead. ``--only release-17`` replays one kill. A moment is a number of requests, or of
lines of ``--json``, and a part of a second after the last of them, so it lies in the same step each time.
"""

from __future__ import annotations

import argparse
import json
import logging
import math
import multiprocessing
import os
import random
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from itertools import chain
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

from tests.conftest import _pipeline as new_pipeline
from tests.matrix.release import build, look
from tests.soak.commands import interrupt, undisturbed
from tests.soak.journals import USED, repeated, step_of
from tests.soak.processes import ENDED, World, kill, pause, world

EVEN = (math.sqrt(5) - 1) / 2  # however many moments are drawn with it, they lie evenly between begin and end
LONGEST_WAIT = 0.02  # seconds; a request takes about five milliseconds
TRIAL_SECONDS = 0.02
COMMAND_EVERY = 16  # one kill of a whole command, which takes as long as fifteen of a release


class Kill(NamedTuple):
    """One kill: of a ``release``, of the ``hub`` below one, or of a ``command``."""

    kind: str
    number: int
    seed: int

    @property
    def name(self) -> str:
        return f"{self.kind}-{self.number}"

    @property
    def xet(self) -> bool:
        return self.number % 2 == 0

    @property
    def replay(self) -> str:
        return f"--only {self.name} --seed {self.seed}"

    def moment(self) -> tuple[float, float]:
        """Return after which part of its lines a run is killed, and how much later, as a part of a whole."""
        begin = random.Random(f"{self.kind} {self.seed}").random()
        later = random.Random(f"{self.name} {self.seed}").random()
        return (begin + self.number * EVEN) % 1, later


@dataclass(frozen=True)
class Survival:
    """What became of a run that was killed, and of the one after it."""

    kill: str
    way: str
    step: str
    line: int
    milliseconds: float
    seconds: float
    wrong: str
    replay: str


def kill_release(one: Kill, lines: int) -> Survival:
    """Kill a release, or the Hub that it talks to, and finish it."""
    began, (part, later) = time.monotonic(), one.moment()
    line, wait = round(part * lines), LONGEST_WAIT * later**2
    with world(xet=one.xet) as here:
        folder = build(here.home / "tiny")
        before = killed(here, folder, line, wait, hub=one.kind == "hub")
        ended = [here.end()] if one.kind == "hub" else []
        if not ended or ended[0][0]:
            publish(here, folder)
            ended.append(here.end())
        code, told = ended[-1]
        wrong = f"it ends with {code}: {told}" if code else look(here.look(), folder, done=True)
        wrong = wrong or left_over(here) or done_again(before, here.journal.lines[len(before) :])
    took = time.monotonic() - began
    way = "xet" if one.xet else "lfs"
    return Survival(one.name, way, step_of(before), line, round(wait * 1000, 1), round(took, 2), wrong, one.replay)


def publish(here: World, folder: Path) -> None:
    """Start a release whose trial takes a moment, and is told of."""

    def trial() -> None:
        time.sleep(TRIAL_SECONDS)
        here.journal.tell(USED)

    here.publish(folder, trial=trial)


def killed(here: World, folder: Path, line: int, wait: float, *, hub: bool) -> list[str]:
    """Begin a release, kill it or its Hub, and return what it had done by then; a Hub is started again."""
    opened = len(here.journal.lines)
    publish(here, folder)
    here.journal.wait(lambda lines: len(lines) - opened >= line or lines[-1].startswith(ENDED))
    pause(wait)
    kill(here.hub if hub else here.publishers.pop("one"))
    while here.journal.read(0):
        pass
    if hub:
        before = list(here.journal.lines)
        here.open()
        return before
    here.journal.lines[:] = [line for line in here.journal.lines if not line.startswith(ENDED)]
    return list(here.journal.lines)


def left_over(here: World) -> str:
    """Return what is still in the home of whoever published."""
    left = [path.name for path in (here.home / "one" / "making").rglob("*") if path.is_file()]
    return f"left behind: {left}" if left else ""


def done_again(before: list[str], after: list[str]) -> str:
    """Return what was repeated, in words."""
    again = repeated(before, after)
    return f"done again: {again}" if again else ""


def length(xet: bool) -> int:
    """Return the lines of a release that nobody kills."""
    with world(xet=xet) as here:
        opened = len(here.journal.lines)
        publish(here, build(here.home / "tiny"))
        code, told = here.end()
        assert code == 0, told
        return len(here.journal.lines) - opened


def kill_commands(wanted: Iterable[Kill]) -> Iterator[Survival]:
    """Kill whole commands, one after the other: they use all cores."""
    with TemporaryDirectory(prefix="soak-") as name:
        room = Path(name)
        new_pipeline().save_pretrained(room / "source")
        calm = undisturbed(room / "source", room)
        for one in wanted:
            began = time.monotonic()
            met = interrupt(calm, room / one.name, *one.moment())
            took = round(time.monotonic() - began, 2)
            yield Survival(
                one.name, "command", met.stage, met.line, round(met.wait * 1000, 1), took, met.wrong, one.replay
            )


def survive(task: tuple[Kill, int]) -> Survival:
    logging.disable(logging.WARNING)  # the client tells of each answer that it waits for
    return kill_release(*task)


def run(wanted: Iterable[Kill], workers: int) -> Iterator[Survival]:
    """Kill, several at once."""
    with multiprocessing.get_context("fork").Pool(workers, maxtasksperchild=1) as pool:
        lengths = {xet: pool.apply(length, (xet,)) for xet in (True, False)}
        yield from pool.imap_unordered(survive, [(one, lengths[one.xet]) for one in wanted])


def numbered(seed: int, **counts: int) -> list[Kill]:
    """Return so many kills of each kind."""
    return [Kill(kind, number, seed) for kind, count in counts.items() for number in range(count)]


def main() -> int:
    """Print a line a kill as JSON, and what is wrong; end with 1 if anything is."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--commands", type=int, help="how many of the kills are of a whole command; one in sixteen")
    parser.add_argument("--hubs", type=int, default=0, help="kills of a Hub, besides")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", help="one kill by its name, such as release-17")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    chosen = parser.parse_args()
    commands = chosen.kills // COMMAND_EVERY if chosen.commands is None else chosen.commands
    wanted = numbered(chosen.seed, release=chosen.kills - commands, command=commands, hub=chosen.hubs)
    if chosen.only:
        kind, _, number = chosen.only.partition("-")
        wanted = [Kill(kind, int(number), chosen.seed)]
    steps: Counter[str] = Counter()
    bad = 0
    short = [one for one in wanted if one.kind != "command"]
    long = [one for one in wanted if one.kind == "command"]
    for survival in chain(run(short, chosen.workers), kill_commands(long) if long else ()):
        sys.stdout.write(json.dumps(asdict(survival)) + "\n")
        sys.stdout.flush()
        steps[survival.step] += 1
        bad += bool(survival.wrong)
    sys.stderr.write(f"{sum(steps.values())} kills, {dict(sorted(steps.items()))}, wrong {bad}\n")
    return bool(bad)


if __name__ == "__main__":
    sys.exit(main())

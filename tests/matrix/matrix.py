"""Every request of a release against every fault, with Xet and without: generated from a release that meets none.

``python -m tests.matrix.matrix --all`` runs every request, ``--always`` has a fault stay until the run gives up.
``--only "xet 12 status=503"`` replays one cell, of the twelfth request.
"""

from __future__ import annotations

import argparse
import json
import logging
import multiprocessing
import os
import random
import shlex
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict
from typing import NamedTuple

from tests.matrix.release import FAULTS, Cell, Request, meet, requests

WAYS = {True: "xet", False: "lfs"}


class Task(NamedTuple):
    """A cell to come; its request is the n-th of a plain release."""

    number: int
    request: Request
    fault: str
    times: str
    xet: bool

    @property
    def name(self) -> str:
        return f"{WAYS[self.xet]} {self.number} {self.fault}"

    @property
    def replay(self) -> str:
        return f"--only {shlex.quote(self.name)}" + (" --always" if self.times == "always" else "")


def tasks(*, times: str = "1", every: bool = False) -> list[Task]:
    """Return the cells; of requests that look alike the first, or with ``every`` all of them."""
    requests = [(number, request, xet) for xet in WAYS for number, request in enumerate(listed(xet))]
    wanted = [row for row in requests if every or row[1].before == 0]
    return [Task(number, request, fault, times, xet) for number, request, xet in wanted for fault in FAULTS]


def spread(wanted: list[Task], seed: int) -> list[Task]:
    """Return cells so that the first ones have every request, and every fault, about equally often."""
    rows = list(dict.fromkeys((task.xet, task.number) for task in wanted))
    columns = list(FAULTS)
    drawn = random.Random(seed)
    drawn.shuffle(rows)
    drawn.shuffle(columns)
    row, column = ({key: place for place, key in enumerate(keys)} for keys in (rows, columns))

    def place(task: Task) -> tuple[int, int]:
        at = row[task.xet, task.number]
        return (column[task.fault] - at) % len(columns), at

    return sorted(wanted, key=place)


def listed(xet: bool) -> list[Request]:
    """Return the requests of a plain release; asked in a process of its own, for clients keep what they see."""
    with multiprocessing.get_context("fork").Pool(1) as pool:
        return pool.apply(requests, kwds={"xet": xet})


def run(wanted: list[Task], workers: int) -> Iterator[tuple[Task, Cell]]:
    """Meet cells, several at once: most of their time is waiting."""
    with multiprocessing.get_context("fork").Pool(workers, maxtasksperchild=1) as pool:
        yield from pool.imap_unordered(one, wanted)


def one(task: Task) -> tuple[Task, Cell]:
    logging.disable(logging.WARNING)  # the client tells of each answer that it waits for
    return task, meet(task.request, task.fault, task.times, xet=task.xet)


def main() -> int:
    """Print a line a cell as JSON, and what is wrong; end with 1 if anything is."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--always", action="store_true")
    parser.add_argument("--all", action="store_true")
    parser.add_argument("--sample", type=int, default=0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", help="one cell: xet or lfs, the number of its request, its fault")
    parser.add_argument("--workers", type=int, default=2 * (os.cpu_count() or 1))
    chosen = parser.parse_args()
    wanted = spread(tasks(times="always" if chosen.always else "1", every=chosen.all or bool(chosen.only)), chosen.seed)
    if chosen.only:
        wanted = [task for task in wanted if task.name == chosen.only]
    ends: Counter[int] = Counter()
    bad = 0
    for task, cell in run(wanted[: chosen.sample or None], chosen.workers):
        line = {"way": WAYS[task.xet], "number": task.number, "times": task.times, "replay": task.replay}
        sys.stdout.write(json.dumps({**line, **asdict(cell)}) + "\n")
        sys.stdout.flush()
        ends[cell.code] += 1
        bad += bool(cell.wrong)
    sys.stderr.write(f"{sum(ends.values())} cells, exit codes {dict(sorted(ends.items()))}, wrong {bad}\n")
    return bool(bad)


if __name__ == "__main__":
    sys.exit(main())

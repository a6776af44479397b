"""Every request of a release against every fault, with Xet and without: generated from a release that meets none.

``python -m tests.matrix.matrix --all`` runs every request, ``--always`` has a fault stay until the run gives up.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import random
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict
from typing import NamedTuple

from tests.matrix.release import FAULTS, Cell, Request, meet, requests

WAYS = {True: "xet", False: "lfs"}


class Task(NamedTuple):
    request: Request
    fault: str
    times: str
    xet: bool


def tasks(*, times: str = "1", every: bool = False) -> list[Task]:
    """Return the cells; of requests that look alike the first, or with ``every`` all of them."""
    found = []
    for xet in WAYS:
        wanted = [request for request in listed(xet) if every or request.before == 0]
        found += [Task(request, fault, times, xet) for request in wanted for fault in FAULTS]
    return found


def listed(xet: bool) -> list[Request]:
    """Return the requests of a plain release; asked in a process of its own, for clients keep what they see."""
    with multiprocessing.get_context("fork").Pool(1) as pool:
        return pool.apply(requests, kwds={"xet": xet})


def run(wanted: list[Task], workers: int) -> Iterator[tuple[Task, Cell]]:
    """Meet cells, several at once: most of their time is waiting."""
    with multiprocessing.get_context("fork").Pool(workers, maxtasksperchild=1) as pool:
        yield from pool.imap_unordered(one, wanted)


def one(task: Task) -> tuple[Task, Cell]:
    return task, meet(task.request, task.fault, task.times, xet=task.xet)


def main() -> int:
    """Print a line a cell as JSON, and what is wrong; end with 1 if anything is."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--always", action="store_true")
    parser.add_argument("--all", action="store_true")
    parser.add_argument("--sample", type=int, default=0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=2 * (os.cpu_count() or 1))
    chosen = parser.parse_args()
    wanted = tasks(times="always" if chosen.always else "1", every=chosen.all)
    random.Random(chosen.seed).shuffle(wanted)
    ends: Counter[int] = Counter()
    bad = 0
    for task, cell in run(wanted[: chosen.sample or None], chosen.workers):
        sys.stdout.write(json.dumps({"way": WAYS[task.xet], "times": task.times, **asdict(cell)}) + "\n")
        sys.stdout.flush()
        ends[cell.code] += 1
        bad += bool(cell.wrong)
    sys.stderr.write(f"{sum(ends.values())} cells, exit codes {dict(sorted(ends.items()))}, wrong {bad}\n")
    return bool(bad)


if __name__ == "__main__":
    sys.exit(main())

"""Inputs that nobody means well: recipes, headers of sources, and answers of a Hub; each ends well or with a reason.

``python -m tests.soak.fuzz --inputs 10000 --seed 0`` runs them all, ``--what headers --only 17`` a single one again.
What is allowed: success, or an error of the program's own. An exception of any other kind, a write outside the folder
that was given, a process that hangs, dies or takes all memory is a failure; a line of JSON tells it and its replay.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from types import MappingProxyType
from typing import Final, TypedDict

os.environ |= {
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "HF_HUB_DISABLE_IMPLICIT_TOKEN": "1",
}

from tests.soak.guarded import Guard, within

Try = Callable[[int, Random, Path, Guard], str]
"""Meets one input, by number and generator, in a folder of its own; returns how that ended in a word."""


class Line(TypedDict):
    """What became of an input: how it ended, and the trace of what is wrong, if anything is."""

    number: int
    end: str
    seconds: float
    trace: str


@dataclass(frozen=True)
class Kind:
    """A kind of input: the module whose ``meet`` tries one, how long that may take, how many one process tries."""

    module: str
    seconds: float
    together: int


KINDS: Final = MappingProxyType(
    {
        "recipes": Kind("tests.soak.recipes", 30, 250),
        "headers": Kind("tests.soak.headers", 30, 250),
        "answers": Kind("tests.soak.answers", 60, 1),  # clients keep what they see of a Hub
    }
)


def meet_all(kind: Kind, numbers: Sequence[int], seed: int, folder: Path) -> None:
    """Try inputs in this process, a line of JSON each."""
    meet: Try = import_module(kind.module).meet
    sys.dont_write_bytecode = True
    guard = Guard(folder)
    for number in numbers:
        place = folder / str(number)
        place.mkdir()
        began = time.monotonic()
        with within(kind.seconds):
            try:
                end, trace = meet(number, Random(f"{seed}:{number}"), place, guard), ""
            except BaseException as error:
                end, trace = type(error).__name__, "".join(traceback.format_exception(error))
        trace += "\n".join(guard.broken)
        guard.broken.clear()
        say({"number": number, "end": end, "seconds": round(time.monotonic() - began, 3), "trace": trace})


def say(line: Line) -> None:
    """Write a line to where the parent reads."""
    os.write(1, json.dumps(line).encode() + b"\n")


@dataclass
class Child:
    """A process on its way through some inputs.

    Attributes:
        numbers: The inputs.
        folder: Where it writes what became of them, and where it tries them.
    """

    numbers: Sequence[int]
    folder: TemporaryDirectory[str]

    @classmethod
    def start(cls, kind: Kind, numbers: Sequence[int], seed: int) -> tuple[int, Child]:
        """Fork one; return its process id too."""
        child = cls(numbers, TemporaryDirectory(prefix="fuzz-"))
        if process := os.fork():
            return process, child
        for number, name in ((1, "said"), (2, "beside")):
            os.dup2(os.open(Path(child.folder.name, name), os.O_WRONLY | os.O_CREAT), number)
        inputs = Path(child.folder.name, "inputs")
        inputs.mkdir()
        meet_all(kind, numbers, seed, inputs)
        os._exit(0)

    def ended(self, status: int) -> tuple[list[Line], Sequence[int]]:
        """Return what became of its inputs, and those that it did not come to."""
        folder = Path(self.folder.name)
        lines = [json.loads(line) for line in (folder / "said").read_text().splitlines()]
        left = self.numbers[len(lines) :]
        if left:
            code, beside = os.waitstatus_to_exitcode(status), (folder / "beside").read_text(errors="replace")
            lines.append({"number": left[0], "end": f"ended with {code}", "seconds": 0.0, "trace": beside or "silent"})
        self.folder.cleanup()
        return lines, left[1:]


def lines_of(kind: Kind, numbers: Sequence[int], seed: int, workers: int) -> Iterator[Line]:
    """Yield what became of each input; after one that ended its process the next ones go on in another."""
    waiting = [numbers[start : start + kind.together] for start in range(0, len(numbers), kind.together)]
    running: dict[int, Child] = {}
    while waiting or running:
        while waiting and len(running) < workers:
            running.update([Child.start(kind, waiting.pop(0), seed)])
        process, status = os.wait()
        lines, left = running.pop(process).ended(status)
        yield from lines
        waiting += [left] if left else []


def run(what: str, numbers: Sequence[int], seed: int, workers: int) -> bool:
    """Try inputs of a kind, several at once; tell what is wrong as it comes and the sum at the end."""
    kind, began = KINDS[what], time.monotonic()
    import_module(kind.module).prepare()  # once, for all children
    again = f"--what {what} --seed {seed}"
    ends: Counter[str] = Counter()
    slowest, bad = 0.0, 0
    for line in lines_of(kind, numbers, seed, workers):
        ends[line["end"]] += 1
        slowest = max(slowest, line["seconds"])
        if line["trace"]:
            bad += 1
            told = {"what": what, "number": line["number"], "end": line["end"], "wrong": line["trace"]}
            tell({**told, "replay": f"{again} --only {line['number']}"})
    told = {"what": what, "inputs": sum(ends.values()), "ends": dict(sorted(ends.items()))}
    told |= {"seconds": round(time.monotonic() - began, 1), "slowest": slowest}
    tell({**told, "wrong": f"{bad} inputs" if bad else "", "replay": f"{again} --inputs {len(numbers)}"})
    return not bad and sum(ends.values()) == len(numbers)


def tell(line: Mapping[str, object]) -> None:
    """Write a line of JSON for people and programs."""
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()


def main() -> int:
    """Try what the arguments name; end with 1 if anything is wrong."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--inputs", type=int, default=10_000, help="how many of each kind")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--what", choices=list(KINDS), help="one kind only")
    parser.add_argument("--only", type=int, help="the number of a single input")
    parser.add_argument("--workers", type=int, default=2 * (os.cpu_count() or 1))
    chosen = parser.parse_args()
    numbers = range(chosen.inputs) if chosen.only is None else [chosen.only]
    kinds = [chosen.what] if chosen.what else list(KINDS)
    well = [run(what, numbers, chosen.seed, chosen.workers) for what in kinds]
    return not all(well)


if __name__ == "__main__":
    sys.exit(main())

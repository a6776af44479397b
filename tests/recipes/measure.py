"""Measures what a recipe of a real model costs before anything is made: its plan, its check, and the help.

Usage: ``python -m tests.recipes.measure`` makes FLUX.1-dev's repository as sparse files on an embedded Hub, and prints
one line of JSON a number, with what is to be reached. What is not a time is held by the tests beside this file.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from tests.desk import Desk
from tests.recipes.conftest import FLUX, RECIPES, desk_at, read_so_far, stock

TIMES = 5
CHECKED = 20


def cost(desk: Desk, *arguments: object) -> tuple[float, float]:
    """Return the seconds that a command took, and those of a processor."""
    began = time.monotonic()
    child = subprocess.Popen(
        [sys.executable, "-m", "pipeline.cli", *map(str, arguments)],
        cwd=desk.folder,
        env=desk.environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    _, status, usage = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    assert child.returncode == 0, arguments
    return time.monotonic() - began, usage.ru_utime + usage.ru_stime


def tell(what: str, value: float, unit: str, limit: float) -> bool:
    """Print a number, and return whether it is below its limit."""
    told: dict[str, Any] = {"what": what, "value": round(value, 3), "unit": unit, "below": limit, "met": value < limit}
    sys.stdout.write(json.dumps(told) + "\n")
    return value < limit


def twenty(folder: Path) -> list[Path]:
    """Return so many recipes: those that there are, and some of them again."""
    shutil.copytree(FLUX.parent / "prompts", folder / "prompts")
    for shared in FLUX.parent.glob("_*.yaml"):
        shutil.copy(shared, folder)
    copies = [folder / f"{path.stem}-{number}.yaml" for number in range(2) for path in RECIPES][:CHECKED]
    for number, copy in enumerate(copies):
        copy.write_bytes(RECIPES[number % len(RECIPES)].read_bytes())
    return copies


def main() -> int:
    """Measure everything, each the best of several times: what else the machine does only adds."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        stock(folder, [FLUX])
        (folder / "answers").mkdir()
        with desk_at(folder / "hub", folder, folder / "answers") as desk:
            cost(desk, "plan", FLUX)  # which asks the libraries
            (folder / "recipes").mkdir()
            recipes = twenty(folder / "recipes")
            before = read_so_far()
            planned = min(cost(desk, "plan", FLUX)[0] for _ in range(TIMES))
            read = (read_so_far() - before) / TIMES
            checked = min(cost(desk, "check", *recipes)[1] for _ in range(TIMES))
            helped = min(cost(desk, "--help")[1] for _ in range(TIMES))
            source = sum(path.stat().st_size for path in (folder / "hub" / "objects").rglob("*") if path.is_file())
    met = [
        tell("publish plan of FLUX.1-dev, all targets, answers kept", planned, "s", 3),
        tell("of its source read, and of everything else", 100 * read / source, "%", 1),
        tell(f"publish check of {CHECKED} recipes", checked, "s of a processor", 1),
        tell("publish --help", helped, "s of a processor", 0.3),
    ]
    return 0 if all(met) else 1


if __name__ == "__main__":
    raise SystemExit(main())

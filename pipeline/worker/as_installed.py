"""A script run as where no more is installed than it takes, perhaps within a small device's limits; its costs are told.

This file is itself run as a script, so that nothing of ours is in what is measured but `pipeline.worker.limits`.
"""

from __future__ import annotations

import json
import runpy
import sys
import time
from collections.abc import Sequence
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import ModuleType
from typing import Any

from pipeline.worker.limits import confine, peak_memory


class Sparing(PathFinder):
    """Finds modules as Python does, but for some packages that are as if they were not installed."""

    spared: frozenset[str] = frozenset()

    @classmethod
    def find_spec(
        cls, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return where a module is; None of one that is spared."""
        return None if fullname in cls.spared else super().find_spec(fullname, path, target)


def run(job: dict[str, Any]) -> None:
    """Run a script, and write down what that took."""
    Sparing.spared = frozenset(job["spared"])
    sys.meta_path[sys.meta_path.index(PathFinder)] = Sparing
    if job["limits"]:
        confine(**job["limits"])
    began = time.perf_counter()
    runpy.run_path(job["script"], run_name="__main__")
    numbers = {"seconds": time.perf_counter() - began, "peak_memory": peak_memory()}
    Path(job["said"]).write_text(json.dumps(numbers))


if __name__ == "__main__":
    run(json.loads(sys.argv[1]))

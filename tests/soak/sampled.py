"""A sample of a long run as a test: in a process of its own, for it forks, and each failure with its replay."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]


def sample(module: str, *arguments: object) -> list[dict[str, Any]]:
    """Run a module that writes a line of JSON for each thing that it tried, and return the lines; none may be wrong."""
    command = ["-m", module, *map(str, arguments)]
    done = subprocess.run([sys.executable, *command], cwd=ROOT, capture_output=True, text=True, check=False)
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    wrong = [f"{line}\n    python -m {module} {line['replay']}" for line in lines if line["wrong"]]
    assert not wrong, "\n".join(["", *wrong])
    assert done.returncode == 0, done.stderr
    return lines

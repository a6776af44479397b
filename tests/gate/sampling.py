"""A sample of what ``python -m tests.gate.gate`` tries, and what it has to say of each defect."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.gate.defects import Defect

Lines = Mapping[str, Mapping[str, Any]]


def sample(home: Path, chosen: Sequence[str], *arguments: str) -> Lines:
    """Return what the gate says of some defects and of what is honest, by name."""
    command = [sys.executable, "-m", "tests.gate.gate", f"--home={home}", *arguments, "--only", *chosen]
    done = subprocess.run(command, cwd=Path(__file__).parents[2], capture_output=True, text=True, check=False)
    found = {line["name"]: line for line in map(json.loads, done.stdout.splitlines())}
    assert len(found) >= len(chosen) + 3, done.stderr[-4000:]
    return found


def require_named(found: Mapping[str, Any], defect: Defect) -> None:
    """Require that a defect failed and that the first reason names it."""
    assert found["verdict"] == "FAIL"
    assert found["about"] == defect.about
    assert defect.names in found["reason"]


def require_seen_beside_answers(lines: Lines, defects: Mapping[str, Defect]) -> None:
    """Require that layers or files showed what answers alone do not."""
    beside = [line for name, line in lines.items() if name in defects and defects[name].about in {"layer", "file"}]
    assert any(line["answers"] != "FAIL" for line in beside)

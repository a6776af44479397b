"""Try every recipe that a change is about on a small model, and write what became of it, for people and as JSON.

Usage: ``trial.py OUT PAGES RECIPE...``. OUT is what `comment.py` reads, written anew after each recipe, so that what a
limit of time ends tells of those before it. PAGES is a folder for a page on each target, with its answers beside the
model's.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from comment import read_trials, rendered_trials
from preview import UNTOLD, asked, show

from pipeline.errors import CannotHereError
from pipeline.files import write_atomically

LIMIT = 20.0  # minutes for a recipe
ENDED = 124  # how `timeout` says that it ended a command


def trial(recipe: str, pages: Path, minutes: float = LIMIT) -> tuple[dict[str, Any], int]:
    """Return what `comment.py` reads of a recipe's trial, and its exit code."""
    within = ("timeout", "--kill-after=60", str(minutes * 60))
    said, code = asked("run", recipe, "--trial", "--out", str(pages / recipe), within=within)
    errors = [line for line in said if "error" in line]
    failed = [line for line in said if line.get("event") == "failed" and line["stage"] == "trial"]
    ended = [one for line in said for one in line.get("result", ())]
    # What fails before any target is tried is no target's.
    problem = "" if failed else "\n".join(line["error"] for line in errors)
    if code == ENDED:
        problem = f"its trial took more than {minutes:g} minutes."
    elif code and not errors:
        problem = f"`publish run --trial` ended with exit code {code}; the check's log says why."
    targets = [target(one) for one in ended]
    targets += [failure(line, error) for line, error in zip(failed, errors, strict=False)]
    stand_in = next((one["stand_in"] for one in ended), "")
    return {"recipe": recipe, "stand_in": stand_in[:500], "targets": targets, "problem": problem[:4000]}, code


def target(ended: dict[str, Any]) -> dict[str, Any]:
    """Return what `comment.py` reads of a target that was tried, or of why it was not."""
    told = [text[:2000] for text in ended["told"]]
    return {**{key: ended[key] for key in ("target", "state", "verdict", "seconds")}, "told": told[:50]}


def failure(line: dict[str, Any], error: dict[str, Any]) -> dict[str, Any]:
    """Return what `comment.py` reads of a target that failed, or that cannot be tried here."""
    state = "untried" if error["exit_code"] == CannotHereError.exit_code else "failed"
    told = [error["error"][:2000]]
    return {"target": line["subject"], "state": state, "verdict": None, "seconds": line["seconds"], "told": told}


def main(out: str, pages: str, *recipes: str) -> int:
    """Try the recipes, and return the exit code of the first that could be tried here and failed."""
    found: list[dict[str, Any]] = []
    codes = []
    write_atomically(Path(out), b"[]")
    for recipe in recipes:
        tried, code = trial(recipe, Path(pages))
        found.append(tried)
        codes.append(code)
        write_atomically(Path(out), json.dumps(found).encode())
    return show(Path(out).read_bytes(), read_trials, rendered_trials) or next((c for c in codes if c not in UNTOLD), 0)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))

"""Plan every recipe that a change is about, and write what its release would change, for people and as JSON.

Usage: ``preview.py OUT RECIPE...``. The JSON is what `comment.py` reads; GitHub's summary of the step has the same in
words.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from comment import UntrustedError, read, rendered

from pipeline.errors import CannotHereError, RecipeError
from pipeline.files import write_atomically

Some = TypeVar("Some")
PUBLISH = (sys.executable, "-m", "pipeline.cli")
LEAST = ("source_bytes", "result_bytes")
UNTOLD = {0, CannotHereError.exit_code}  # that no token for a gated source is here says nothing of a recipe


def asked(*words: str, within: tuple[str, ...] = ()) -> tuple[list[dict[str, Any]], int]:
    """Return the lines that a verb writes of a recipe, and its exit code; ``within`` is a command that runs another."""
    done = subprocess.run([*within, *PUBLISH, *words, "--json"], stdout=subprocess.PIPE, check=False)
    return [json.loads(line) for line in done.stdout.splitlines()], done.returncode


def preview(recipe: str) -> tuple[dict[str, Any], int]:
    """Return what `comment.py` reads of a recipe, and the exit code of planning it."""
    planned, code = asked("plan", recipe)
    standing, _ = asked("status", recipe) if code == 0 else ([], 0)
    known = {one["target"]: one for line in standing for one in line.get("targets", ())}
    targets = [target(line, known.get(line["plan"]["target"], {})) for line in planned if "plan" in line]
    problem = "\n".join(line["error"] for line in planned if "error" in line)
    if code and not problem:
        problem = f"`publish plan` ended with exit code {code}; the check's log says why."
    ladder = next((line["plan"]["ladder"] for line in planned if line.get("plan", {}).get("ladder")), {"steps": []})
    steps = [step(one) for one in ladder["steps"]]
    return {"recipe": recipe, "targets": targets, "ladder": steps, "problem": problem[:4000]}, code


def target(line: dict[str, Any], known: dict[str, Any]) -> dict[str, Any]:
    """Return what `comment.py` reads of a target."""
    plan, needs, beside = line["plan"], line["needs"], line["beside"]
    parts = plan["components"].items()
    components = [
        {
            "name": name,
            "scheme": f"{part['quantization']['backend']} {part['quantization']['scheme']}",
            **{key: part[key] for key in LEAST},
        }
        for name, part in parts
    ]
    findings = [finding["text"] for finding in known.get("findings", ())]
    if line["instead"]:
        known, findings = {"state": "same"}, [f"not published: {line['instead']}"]
    elif beside["refused"]:
        findings.append(f"a release would be refused: {beside['refused']}")
    return {
        "target": plan["target"],
        "repository": plan["repository"],
        "components": components,
        "estimated": any(part.get("estimated", False) for _, part in parts),
        **{key: plan[key] for key in LEAST},
        **{key: needs[key] for key in ("memory", "validation_memory", "disk")},
        "state": known.get("state", "unknown"),
        "findings": [text[:2000] for text in findings],
    }


def step(found: dict[str, Any]) -> dict[str, Any]:
    """Return what `comment.py` reads of what a ladder has for one card."""
    memory = {way: taken["weights"] + taken["reckoned"] for way, taken in found["memory"].items()}
    kept = {key: found[key] for key in ("card", "taken", "estimated", "sqnr", "offload")}
    return {**kept, "result_bytes": found["bytes"], "memory": memory}


def main(out: str, *recipes: str) -> int:
    """Write the preview, and return the exit code of the first recipe that could be planned here and cannot."""
    found = [preview(recipe) for recipe in recipes]
    written = json.dumps([shown for shown, _ in found]).encode()
    write_atomically(Path(out), written)
    return show(written, read, rendered) or next((code for _, code in found if code not in UNTOLD), 0)


def show(written: bytes, read_it: Callable[[bytes], Some], render: Callable[[Some], str]) -> int:
    """Show what is to be shown beneath the pull request, here and in the summary, and return the exit code."""
    try:
        text = render(read_it(written))
    except UntrustedError as error:
        sys.stderr.write(f"A name that cannot be shown beneath a pull request: {error}\n")
        return RecipeError.exit_code
    sys.stdout.write(f"{text}\n")
    if summary := os.environ.get("GITHUB_STEP_SUMMARY"):
        with Path(summary).open("a", encoding="utf-8") as file:
            file.write(f"{text}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))

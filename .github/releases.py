"""List what a workflow has to publish: one entry for each target of each recipe, with the repository it becomes.

The list is a job matrix and not a loop, because a trusted publisher's token writes to one repository only. It is read
from the recipes alone, without a Hub. From the environment: ``RECIPE`` and, if wanted, ``TARGET`` where a person asked,
``BASE`` where a push did. The list is written to stdout and to where GitHub collects a step's outputs.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from pipeline.backends import SCHEMES
from pipeline.card.stage import templates
from pipeline.errors import PublishError
from pipeline.plan.model import chosen
from pipeline.recipe import Vocabulary, load
from pipeline.tasks import TASKS

CHANGED = Path(__file__).with_name("changed-recipes")


def recipes(asked: str, base: str) -> list[str]:
    """Return the recipe that was asked for, or those that differ from a commit."""
    if asked:
        return [asked]
    return subprocess.run([CHANGED, base], check=True, stdout=subprocess.PIPE, text=True).stdout.split("\n")[:-1]


def releases(recipe: str, target: str) -> list[dict[str, str]]:
    """Return an entry for each target of a recipe, or for the one that was asked for.

    Raises:
        PublishError: The recipe is wrong or has no such target.
    """
    read = load(Path(recipe), Vocabulary(SCHEMES, frozenset(templates()), TASKS)).recipe
    names = chosen(read, (target,) if target else ())
    return [{"recipe": recipe, "target": name, "repository": read.repositories[name]} for name in names]


def main() -> int:
    """Write the list and return the exit code."""
    asked, target, base = (os.environ.get(name, "") for name in ("RECIPE", "TARGET", "BASE"))
    try:
        found = [entry for recipe in recipes(asked, base) for entry in releases(recipe, target)]
    except PublishError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code
    except subprocess.CalledProcessError as error:  # git has said why
        return error.returncode
    line = f"releases={json.dumps(found)}\n"
    sys.stdout.write(line)
    if collected := os.environ.get("GITHUB_OUTPUT"):
        with Path(collected).open("a", encoding="utf-8") as output:
            output.write(line)
    return 0


if __name__ == "__main__":
    sys.exit(main())

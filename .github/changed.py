"""Run a command once for each recipe that a change is about; without one, list them.

Usage: ``changed.py BASE [COMMAND...]``. A recipe counts if a file that it depends on differs from the commit BASE: its
YAML, prompts, pictures, LoRAs, judges or template. The command sees every recipe, and one failure fails the whole.
recipes/digits and recipes/minilm are left out: their sources are on no public Hub, and `make demo` publishes them.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from pipeline.backends import SCHEMES
from pipeline.card.stage import templates
from pipeline.errors import PublishError, RecipeError
from pipeline.fleet.reach import changed_since, recipes_in, touched
from pipeline.recipe import Vocabulary
from pipeline.tasks import TASKS

VOCABULARY = Vocabulary(SCHEMES, frozenset(templates()), TASKS)
FOLDER = Path("recipes")
DEMONSTRATED = ("digits", "minilm")


def recipes(base: str) -> list[str]:
    """Return the recipes of this checkout that differ from a commit, or depend on a file that does.

    Raises:
        PublishError: There is no such commit.
    """
    if not base:
        raise RecipeError("There is no commit to compare with.", where="BASE", remedy="Name one, such as HEAD^1.")
    ours = [path for path in recipes_in(FOLDER) if path.relative_to(FOLDER).parts[0] not in DEMONSTRATED]
    files = changed_since(base, Path())
    return [str(path) for path in (ours if files is None else touched(ours, files, VOCABULARY))]


def main(base: str, *command: str) -> int:
    """Run the command for each, and return the exit code."""
    try:
        found = recipes(base)
    except PublishError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code
    if not command:
        sys.stdout.write("".join(f"{path}\n" for path in found))
        return 0
    return max((subprocess.run([*command, path], check=False).returncode for path in found), default=0)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))

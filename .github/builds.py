"""List what a workflow has to build: one entry a recipe, with a runner that has what its plan needs.

Usage: ``builds.py RECIPE...`` with what a push changed. From the environment: ``RECIPE`` and, if wanted, ``TARGET``
where a person asked. ``RUNNERS`` is a JSON list of runners, the one to prefer first, with what each has in GB; the
first that has enough is taken::

    [{"runner": "ubuntu-latest", "memory": 16, "disk": 14}, {"runner": "gpu", "memory": 64, "disk": 500, "cuda": true}]

Where it is empty, ``ubuntu-latest`` builds everything, and nothing is planned here. The list is written to stdout and
to where GitHub collects a step's outputs. A recipe of a push that cannot be placed keeps no other from its build: it
is told here and listed for ``ubuntu-latest``, where its own build fails for the same reason.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pipeline.backends import SCHEMES
from pipeline.card.render import templates
from pipeline.errors import CannotHereError, PublishError, RecipeError
from pipeline.events import silent
from pipeline.hub.client import Hub
from pipeline.plan.model import TargetPlan, chosen, scheme_of
from pipeline.recipe import Loaded, Vocabulary, load
from pipeline.run import Engine
from pipeline.tasks import TASKS

GB = 1e9
ANYWHERE = "ubuntu-latest"
VOCABULARY = Vocabulary(SCHEMES, frozenset(templates()), TASKS)
HOME = Path(os.environ.get("PUBLISH_HOME", ".publish"))


def builds(recipe: str, target: str, runners: list[dict[str, Any]]) -> dict[str, str]:
    """Return the entry of a recipe.

    Raises:
        PublishError: The recipe is wrong, has no such target, cannot be planned, or needs more than any runner has.
    """
    loaded = load(Path(recipe), VOCABULARY)
    names = chosen(loaded.recipe, (target,) if target else ())
    runner = runner_for(plans(loaded, names), runners, recipe) if runners else ANYWHERE
    return {"recipe": recipe, "target": target, "runner": runner}


def builds_of(changed: Sequence[str], runners: list[dict[str, Any]]) -> list[dict[str, str]]:
    """Return the entries of what a push changed, and tell of each recipe that has no runner why."""
    found = []
    for recipe in changed:
        try:
            found.append(builds(recipe, "", runners))
        except PublishError as error:
            told = str(error).replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")
            sys.stderr.write(f"::error::{told}\n")
            found.append({"recipe": recipe, "target": "", "runner": ANYWHERE})
    return found


def plans(loaded: Loaded, names: list[str]) -> list[TargetPlan]:
    """Return the plans of some targets, from headers alone."""
    hub = Hub()
    planner = Engine(loaded, HOME, hub, hub, silent).planner
    planner.ask_ahead(names)
    return [planner.plan(name) for name in names]


def runner_for(made: list[TargetPlan], runners: list[dict[str, Any]], recipe: str) -> str:
    """Return the first runner that has what all targets of a recipe need together, but those that are not made.

    Raises:
        CannotHereError: None has.
    """
    made = [plan for plan in made if not plan.instead]
    memory = max((max(plan.memory_bytes, plan.validation_memory_bytes) for plan in made), default=0) / GB
    source = max((plan.source_bytes for plan in made), default=0)
    disk = (source + sum(plan.disk_bytes - plan.source_bytes for plan in made)) / GB
    parts = [part.quantization for plan in made for part in plan.components.values()]
    cuda = any(scheme_of(part).makes_on == "cuda" for part in parts)
    for one in runners:
        if one["memory"] >= memory and one["disk"] >= disk and one.get("cuda", False) >= cuda:
            return str(one["runner"])
    needed = f"{memory:.1f} GB of memory and {disk:.1f} GB of disk{' and CUDA' * cuda}"
    remedy = "Add a runner to the variable PUBLISH_RUNNERS, or ask for one target at a time."
    raise CannotHereError(f"No runner has {needed}, which its targets need together.", where=recipe, remedy=remedy)


def main(*changed: str) -> int:
    """Write the list and return the exit code."""
    asked, target, known = (os.environ.get(name, "") for name in ("RECIPE", "TARGET", "RUNNERS"))
    try:
        runners = json.loads(known or "[]")
        found = [builds(asked, target, runners)] if asked else builds_of(changed, runners)
    except PublishError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code
    except (ValueError, TypeError, KeyError) as error:
        sys.stderr.write(f"RUNNERS is no list of runners with what they have ({error!r}): see {__file__}\n")
        return RecipeError.exit_code
    line = f"builds={json.dumps(found)}\n"
    sys.stdout.write(line)
    if collected := os.environ.get("GITHUB_OUTPUT"):
        with Path(collected).open("a", encoding="utf-8") as output:
            output.write(line)
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))

"""The digits recipe pins the commit that its own source becomes on any embedded Hub."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from localhub.server import running
from pipeline.backends import SCHEMES
from pipeline.card.render import templates
from pipeline.recipe import Vocabulary, load
from pipeline.tasks import TASKS

DIGITS = Path(__file__).parents[2] / "recipes" / "digits"


def pushed(root: Path) -> str:
    with running(root) as endpoint:
        environment = os.environ | {"HF_ENDPOINT": endpoint, "HF_TOKEN": "local"}
        environment |= {"HF_HOME": str(root / "home"), "HF_HUB_DISABLE_PROGRESS_BARS": "1"}
        command = [sys.executable, str(DIGITS / "push.py")]
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout.strip()


def test_the_pin_is_the_commit_of_the_source_in_this_tree(tmp_path: Path) -> None:
    recipe = load(DIGITS / "recipe.yaml", Vocabulary(SCHEMES, frozenset(templates()), TASKS)).recipe
    commit = pushed(tmp_path / "one")
    assert recipe.source.revision == commit, f"recipes/digits/recipe.yaml: write revision: {commit}"
    assert pushed(tmp_path / "two") == commit

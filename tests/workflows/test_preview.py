"""What a pull request's check finds of recipes, by the scripts that it runs, is what can be shown beneath it."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.desk import Desk, Shelf, home_in, opened

ROOT = Path(__file__).parents[2]
INT8 = {"backend": "torchao", "scheme": "int8-weight-only"}
INT4 = {"backend": "torchao", "scheme": "int4-weight-only"}  # which a GPU makes


@pytest.fixture
def desk(stocked: Shelf, source: Path, answers: Path, tmp_path: Path) -> Iterator[Desk]:
    """A checkout whose recipe has its source beside it."""
    shutil.copytree(stocked.root, tmp_path / "hub", symlinks=True)
    shutil.copytree(source, tmp_path / "checkout" / "recipes" / "source")
    with opened(tmp_path / "hub", stocked) as shelf:
        made = Desk(tmp_path / "checkout", shelf, home_in(tmp_path / "desk", answers))
        made.extra = {"GITHUB_STEP_SUMMARY": str(tmp_path / "summary")}
        yield made


def ran(desk: Desk, script: str, *words: str) -> int:
    command = [sys.executable, str(ROOT / ".github" / f"{script}.py"), *words, "recipes/tiny.yaml"]
    return subprocess.run(command, cwd=desk.folder, env=desk.environment, capture_output=True, check=False).returncode


def propose(desk: Desk, targets: dict[str, Any], **more: Any) -> None:
    desk.recipe(targets, name="recipes/tiny.yaml", **more)
    shutil.move(desk.folder / "prompts.jsonl", desk.folder / "recipes" / "prompts.jsonl")


def test_a_ladder_is_shown_as_it_was_planned(desk: Desk, scripts: Any) -> None:
    cards = {"cards": ["600.65MB", "600.8MB", "601MB"], "backends": ["quanto"]}
    propose(desk, {"ladder": cards}, call={"max_sequence_length": 104})
    assert ran(desk, "preview", "found/preview.json") == 0
    comment = scripts("comment")
    (recipe,) = comment.read((desk.folder / "found" / "preview.json").read_bytes())
    assert [(step.card, step.taken, step.offload) for step in recipe.ladder] == [
        ("600.65MB", "600.65mb", "model"),
        ("600.8MB", "600.8mb", "model"),
        ("601MB", "", "model"),
    ]
    assert all(step.memory["sequential"] < step.memory["model"] <= step.memory["none"] for step in recipe.ladder)
    assert [target.state for target in recipe.targets] == ["unpublished", "unpublished", "same"]
    assert "the source itself runs on a card of 601MB" in recipe.targets[2].findings[0]


def test_a_trial_that_takes_too_long_is_ended_and_says_so(tmp_path: Path, scripts: Any) -> None:
    found, code = scripts("trial").trial("recipe.yaml", tmp_path, minutes=0.001)
    assert code != 0
    assert (found["problem"], found["targets"]) == ("its trial took more than 0.001 minutes.", [])


@pytest.mark.nightly
def test_what_a_trial_found_is_shown_with_its_pages(desk: Desk, scripts: Any) -> None:
    propose(desk, {"one": {"transformer": INT8}, "on-a-gpu": {"transformer": INT4}})
    assert ran(desk, "trial", "found/trial.json", "pages") == 0
    comment = scripts("comment")
    (trial,) = comment.read_trials((desk.folder / "found" / "trial.json").read_bytes())
    assert [(one.target, one.state, one.verdict) for one in trial.targets] == [
        ("one", "tried", "PASS"),
        ("on-a-gpu", "untried", None),
    ]
    assert trial.targets[0].seconds > 0
    assert trial.stand_in.startswith("the source itself")
    assert [path.name for path in (desk.folder / "pages").rglob("*.html")] == ["report-one.html"]
    assert "| `one` | tried | PASS | " in (desk.folder.parent / "summary").read_text()


def test_what_is_wrong_with_a_recipe_fails_its_trial_and_is_told(desk: Desk, scripts: Any) -> None:
    broken = {"transformer": {**INT8, "keep": ["*.atnn"]}}
    propose(desk, {"one": broken, "on-a-gpu": {"transformer": INT4}})
    assert ran(desk, "trial", "found/trial.json", "pages") == 2
    (trial,) = scripts("comment").read_trials((desk.folder / "found" / "trial.json").read_bytes())
    assert [(one.target, one.state, one.verdict) for one in trial.targets] == [
        ("on-a-gpu", "untried", None),
        ("one", "failed", None),
    ]
    assert "'*.atnn' names no Linear module" in trial.targets[1].told[0]
    (desk.folder / "recipes" / "tiny.yaml").write_text("task: nothing\n")
    assert ran(desk, "trial", "found/trial.json", "pages") == 2
    (trial,) = scripts("comment").read_trials((desk.folder / "found" / "trial.json").read_bytes())
    assert (trial.targets, "tiny.yaml:1:" in trial.problem) == ((), True)

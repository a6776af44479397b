"""A task is one file and one entry of a dict: a stranger adds one and changes nothing else."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.extending.conftest import Checkout, Stranger, lines_of


def test_a_stranger_adds_one_file_and_one_entry(checkout: Checkout) -> None:
    assert checkout.written["task"] == {"tasks/text_classification.py": lines_of("task.py"), "tasks/__init__.py": 2}


@pytest.mark.nightly
def test_a_model_of_a_strangers_task_is_checked_planned_judged_published_and_verified(
    stranger: Stranger, classifier: Path
) -> None:
    recipe = stranger.recipe_of_model(classifier, "text-classification", require={"agreement": {"min": 0.5}})
    checked = stranger.publish("check", recipe)
    assert checked.code == 0, checked.out
    planned = stranger.publish("plan", recipe, "--json")
    assert planned.code == 0, planned.err
    assert planned.lines[-1]["plan"]["components"].keys() == {"model"}
    done = stranger.publish("run", recipe)
    assert done.code == 0, done.err
    release = Path(stranger.shelf.api.snapshot_download("alice/tiny-bert-one", local_dir=stranger.folder / "release"))
    report = json.loads((release / "publish" / "report.json").read_text())
    assert report["task"] == "text-classification"
    assert report["metrics"]["agreement"]["value"] > 0.5
    card = (release / "README.md").read_text()
    assert "pipeline_tag: text-classification" in card
    assert "AutoModelForSequenceClassification.from_pretrained" in card
    assert not {word for word in ("picture", "image", "embedding", "seed") if word in card}
    verified = stranger.publish("verify", "alice/tiny-bert-one", "--json")
    assert verified.code == 0, verified.err
    checks = {check["name"]: check["state"] for check in verified.lines[-1]["result"]["checks"]}
    assert checks["loads"] == "passed"

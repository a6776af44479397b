"""A recipe of several targets: its source comes once, is read once and is asked once, whatever is made of it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from pipeline.hub.release_files import MANIFEST
from tests.desk import WORDS, Desk, Shelf, opened

SOURCE = "acme/tiny-bert"
MODEL = {"backend": "torchao", "scheme": "int8-weight-only", "dtype": "float32"}
FOUR = {
    "int8": MODEL,
    "int8-dynamic": {**MODEL, "scheme": "int8-dynamic"},
    "float8": {**MODEL, "scheme": "float8-weight-only"},
    "int8-pooler": {**MODEL, "keep": ["*pooler*"]},
}


@pytest.mark.nightly
def test_four_targets_of_a_recipe_take_one_reading_of_the_source_and_one_asking(
    stocked: Shelf, embedder: Path, tmp_path: Path
) -> None:
    shutil.copytree(stocked.root, tmp_path / "hub", symlinks=True)
    with opened(tmp_path / "hub", stocked) as shelf:
        shelf.api.create_repo(SOURCE)
        commit = shelf.api.upload_folder(repo_id=SOURCE, folder_path=embedder).oid
        (tmp_path / "words.jsonl").write_text("".join(json.dumps({"prompt": word}) + "\n" for word in WORDS))
        recipe = tmp_path / "recipe.yaml"
        written = {
            "source": {"repo": SOURCE, "revision": commit},
            "task": "feature-extraction",
            "destination": {"namespace": "alice"},
            "targets": {name: {"model": part} for name, part in FOUR.items()},
            "validation": {"prompts": "words.jsonl", "require": {"size_ratio": {"max": 2.0}}},
            "card": {"template": "feature-extraction"},
        }
        recipe.write_text(json.dumps(written))
        shelf.faults.seen.clear()
        desk = Desk(tmp_path, shelf, tmp_path / "home")
        done = desk.publish("run", recipe, "--stop-after", "card", "--seal", tmp_path / "sealed", "--json")
    assert done.code == 0, done.err
    assert sorted(path.parts[-3] for path in (tmp_path / "sealed").glob(f"*/{MANIFEST}")) == sorted(FOUR)
    begun = [(line["stage"], line["subject"]) for line in done.lines if line.get("event") == "started"]
    for stage in ("fetch", "quantize"):
        assert [subject for named, subject in begun if named == stage] == ["4 targets"]
    made = {stage: len(list((desk.home / "store" / stage).iterdir())) for stage in ("fetch", "reference", "answers")}
    assert made == {"fetch": 1, "reference": 1, "answers": 4}
    weights = [seen.path for seen in shelf.faults.seen if f"{SOURCE}/resolve/{commit}/model.safetensors" in seen.path]
    assert 1 <= len(weights) <= 2  # the plan reads its header, and then all of it comes

"""A quantization backend is one folder and one entry of a dict: a stranger adds one and changes nothing else."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pipeline.source.safetensors import read_header
from tests.desk import WEIGHTS
from tests.extending.conftest import Checkout, Stranger, lines_of

ONE = {"one": {"transformer": {"backend": "rows8", "scheme": "int8", "keep": ["proj_out"]}}}


def test_a_stranger_adds_one_folder_and_one_entry(checkout: Checkout) -> None:
    assert checkout.written["backend"] == {
        "backends/rows8/__init__.py": lines_of("backend.py"),
        "backends/__init__.py": 2,  # an import and an entry
    }


@pytest.mark.nightly
def test_what_a_strangers_library_made_is_planned_made_judged_published_and_verified(stranger: Stranger) -> None:
    recipe = stranger.recipe(ONE)
    planned = stranger.publish("plan", recipe, "--json")
    assert planned.code == 0, planned.err
    part = planned.lines[-1]["plan"]["components"]["transformer"]
    assert part["estimated"]
    done = stranger.publish("run", recipe)
    assert done.code == 0, done.err
    release = stranger.shelf.api.snapshot_download("alice/tiny-one", local_dir=stranger.folder / "release")
    served = read_header(Path(release) / WEIGHTS)
    codes = [name for name, slot in served.items() if slot.dtype == "I8"]
    assert len(codes) == part["tensors"]
    assert "proj_out.weight" not in codes
    assert part["result_bytes"] == pytest.approx(sum(slot.end - slot.begin for slot in served.values()), rel=0.05)
    card = (Path(release) / "README.md").read_text()
    assert "import rows8\n" in card
    assert "| about " in card  # what was planned of the component
    assert "It takes about " not in card  # what was made
    assert "rows8 1.0" in card
    config = json.loads((Path(release) / "transformer" / "config.json").read_text())
    assert config["quantization_config"] == {"quant_method": "rows8", "modules_to_not_convert": ["proj_out"]}
    assert "_name_or_path" not in config
    verified = stranger.publish("verify", "alice/tiny-one", "--rebuild", "--json")
    assert verified.code == 0, verified.err
    checks = {check["name"]: check["state"] for check in verified.lines[-1]["result"]["checks"]}
    assert checks["loads"] == checks["rebuild"] == "passed"

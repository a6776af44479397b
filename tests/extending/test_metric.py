"""A metric is one file and one entry of its task's requirements: a stranger adds one and changes nothing else."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.extending.conftest import Checkout, Stranger, lines_of


def test_a_stranger_adds_one_file_and_one_entry(checkout: Checkout) -> None:
    assert checkout.written["metric"] == {
        "tasks/lengths.py": lines_of("metric.py"),
        "tasks/feature_extraction.py": 2,  # an import and a field
    }


@pytest.mark.nightly
def test_what_a_strangers_metric_found_decides_and_is_reported(stranger: Stranger, embedder: Path) -> None:
    recipe = stranger.recipe_of_model(
        embedder, "feature-extraction", require={"length_ratio": {"min": 0.999999}}, call={"normalize": False}
    )
    done = stranger.publish("run", recipe)
    assert done.code == 6, done.err
    assert "length_ratio is " in done.error
    (report,) = stranger.home.glob("store/report/*/report.json")
    found = json.loads(report.read_text())["metrics"]["length_ratio"]
    assert 0.9 < found["value"] < 0.999999

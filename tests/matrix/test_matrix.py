"""A release that meets a fault ends published once, or invisible with an exit code; then a plain run publishes it once.

A sample of the matrix; ``make soak`` runs all of it.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from localhub.server import running
from pipeline.events import Event
from pipeline.hub.client import Hub
from pipeline.release.stage import Publication, release
from tests.matrix.release import FAULTS, REPO, TOKENS, build
from tests.soak.sampled import sample

MATRIX = "tests.matrix.matrix"


@pytest.fixture(scope="module")
def cells() -> list[dict[str, str]]:
    return sample(MATRIX, "--sample", 200, "--seed", 4)


@pytest.mark.nightly
def test_a_release_survives_every_fault_that_passes(cells: list[dict[str, str]]) -> None:
    assert len(cells) == 200


@pytest.mark.nightly
def test_the_sample_meets_every_fault_and_every_request_of_a_release(cells: list[dict[str, str]]) -> None:
    assert {cell["fault"] for cell in cells} == set(FAULTS)
    for way in ("xet", "lfs"):
        met = {cell["request"] for cell in cells if cell["way"] == way}
        assert {"POST /api/repos/create", "POST /api/models/{R}/commit/main", "POST /api/models/{R}/tag/*"} <= met
        assert len(met) > 15


@pytest.mark.nightly
def test_a_release_survives_a_fault_that_stays() -> None:
    assert len(sample(MATRIX, "--always", "--sample", 30, "--seed", 4)) == 30


def test_a_release_tells_each_of_its_steps_once(tmp_path: Path) -> None:
    told: list[Event] = []
    with running(tmp_path / "hub", tokens=TOKENS) as endpoint:
        publication = Publication("one", "d" * 64, REPO, build(tmp_path / "build"))
        done = release(
            publication, Hub(endpoint, token="alice"), tmp_path / "aside", lambda *_: "it loads", told.append
        )
    notes = [event.text for event in told if event.kind == "note"]
    assert sorted(set(notes)) == sorted(notes)
    assert [done.commit[:12] in note for note in notes if note.startswith("every byte of ")] == [False, True]

"""SIGKILL costs nothing: not a second commit, not a byte sent or read twice, and nothing stays behind.

A sample of the moments; ``make soak`` has two hundred, some of them of the whole command.
"""

from __future__ import annotations

import pytest

from tests.soak.sampled import sample

pytestmark = pytest.mark.nightly

KILLS = "tests.soak.kills"


def test_a_release_that_is_killed_anywhere_is_finished_by_the_next_run() -> None:
    kills = sample(KILLS, "--kills", 20, "--commands", 0, "--seed", 4)
    assert len(kills) == 20
    assert {"upload", "stage", "read back", "promote", "tag"} <= {kill["step"] for kill in kills}
    assert {kill["way"] for kill in kills} == {"xet", "lfs"}


def test_a_hub_that_is_killed_below_a_release_loses_nothing_that_it_acknowledged() -> None:
    assert len(sample(KILLS, "--kills", 0, "--hubs", 2, "--seed", 4)) == 2

"""An interval holds the world's mean about as often as it says; ``simulate`` has the worlds and the long table."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from pipeline.validate.intervals import LEAST, interval, prompts_needed, share_outside
from tests.quality import simulate
from tests.quality.simulate import COVERED, PROMPTS, WORLDS, YES_AND_NO

SAMPLES = 4000


@pytest.mark.parametrize("world", WORLDS)
@pytest.mark.parametrize("prompts", [count for count in PROMPTS if count >= LEAST])
def test_wherever_a_verdict_is_given_intervals_hold_the_mean_as_often_as_is_said(world: str, prompts: int) -> None:
    assert simulate.coverage(WORLDS[world], prompts, SAMPLES) >= COVERED


def test_fewer_prompts_would_not_do() -> None:
    assert simulate.coverage(WORLDS["exponential"], 4, SAMPLES) < COVERED


@pytest.mark.parametrize(
    ("rows", "samples"),
    [(simulate.rare, SAMPLES), (simulate.one_in_twelve, 300), (simulate.noisy, 300), (simulate.settled, 300)],
)
def test_what_was_simulated_is_what_is_promised(rows: simulate.Rows, samples: int) -> None:
    missed = [str(row) for row in rows(samples) if not row.holds]
    assert not missed


def test_the_table_is_printed_by_one_command() -> None:
    command = [sys.executable, "-m", "tests.quality.simulate", "--samples", "20", "--only", "coverages"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.stdout.count("\n") == len(WORLDS) * len(PROMPTS), done.stderr


def test_the_longer_tail_gets_the_farther_end() -> None:
    skewed = list(np.random.default_rng(0).exponential(1, 24))
    right = interval(skewed)
    left = interval([-value for value in skewed])
    assert right.high - right.number > 1.3 * (right.number - right.low)
    assert (left.low, left.high) == (pytest.approx(-right.high), pytest.approx(-right.low))


def test_an_interval_reaches_beyond_what_was_read() -> None:
    found = interval([0, 0, 0, 0, 0, 0, 0.001, 9])
    assert found.high > 9  # a ninth prompt may well be another such


def test_what_never_differs_is_known_exactly() -> None:
    found = interval([60.0] * 24)
    assert (found.low, found.number, found.high) == (60, 60, 60)


def test_what_differs_by_rounding_alone_is_as_good_as_exact() -> None:
    found = interval([0.1 + 0.2, 0.3] * 12)
    assert found.high - found.low < 1e-15


def test_all_saying_yes_is_no_certainty() -> None:
    found = interval([1.0] * 24, YES_AND_NO)
    assert found.number == 1
    assert found.low == pytest.approx(0.83, abs=0.02)


def test_one_prompt_is_its_own_interval() -> None:
    assert interval([7.0]).model_dump() == {"number": 7, "low": 7, "high": 7}


def test_fewer_prompts_than_settle_anything_are_never_advised() -> None:
    assert prompts_needed([17.9], 18) == LEAST
    assert prompts_needed([40.0], 18) == LEAST
    assert prompts_needed([40.0, 41.0], 18) == LEAST


def test_more_prompts_than_anybody_draws_are_never_advised() -> None:
    assert prompts_needed([0.0, 1.0] * 12, 0.5001) is None


def test_the_share_that_may_be_outside_is_that_of_the_rule_of_three() -> None:
    assert [round(share_outside(count), 3) for count in (1, 24, 100)] == [0.95, 0.117, 0.03]
    assert (1 - share_outside(24)) ** 24 == pytest.approx(0.05)

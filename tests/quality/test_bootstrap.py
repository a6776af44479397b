"""An interval holds the world's mean about as often as it says, whatever the readings look like."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from pipeline.quality.bootstrap import interval, prompts_needed, ratio_interval

Draw = Callable[[np.random.Generator, int], Any]
SAMPLES = 400
YES_AND_NO = (0.0, 0.0, 1.0, 1.0)
WORLDS: dict[str, tuple[Draw, float, tuple[float, ...]]] = {
    "normal": (lambda dice, n: dice.normal(3, 2, n), 3.0, ()),
    "skewed": (lambda dice, n: dice.exponential(1, n), 1.0, ()),
    "skewed to the left": (lambda dice, n: -dice.exponential(1, n), -1.0, ()),
    "heavy tails": (lambda dice, n: dice.standard_t(3, n), 0.0, ()),
    "mostly no difference": (lambda dice, n: dice.exponential(1, n) * (dice.random(n) < 0.3), 0.3, ()),
    "half say yes": (lambda dice, n: (dice.random(n) < 0.5).astype(float), 0.5, YES_AND_NO),
    "most say yes": (lambda dice, n: (dice.random(n) < 0.95).astype(float), 0.95, YES_AND_NO),
}


def coverage(world: str, prompts: int) -> float:
    """Return how often the mean of the world lies within the interval of a sample."""
    draw, mean, prior = WORLDS[world]
    dice = np.random.default_rng(1)
    found = [interval(list(draw(dice, prompts)), prior) for _ in range(SAMPLES)]
    return sum(one.low <= mean <= one.high for one in found) / SAMPLES


@pytest.mark.parametrize("world", WORLDS)
def test_two_dozen_prompts_hold_the_mean_as_often_as_is_said(world: str) -> None:
    assert 0.925 < coverage(world, 24) < 0.985


@pytest.mark.parametrize("world", ["normal", "heavy tails", "half say yes"])
def test_eight_prompts_are_no_more_certain_than_they_may_be(world: str) -> None:
    assert coverage(world, 8) > 0.925


def test_the_longer_tail_gets_the_farther_end() -> None:
    skewed = list(np.random.default_rng(0).exponential(1, 24))
    right = interval(skewed)
    left = interval([-value for value in skewed])
    assert right.high - right.number > 1.3 * (right.number - right.low)
    assert (left.low, left.high) == (pytest.approx(-right.high, rel=0.1), pytest.approx(-right.low, rel=0.1))


def test_an_interval_claims_nothing_beyond_what_was_read() -> None:
    found = interval([0, 0, 0, 0, 0, 0, 0.001, 9])
    assert found.low >= 0
    assert found.high <= 9


def test_what_never_differs_is_known_exactly() -> None:
    found = interval([100.0] * 24)
    assert (found.low, found.number, found.high) == (100, 100, 100)


def test_all_saying_yes_is_no_certainty() -> None:
    found = interval([1.0] * 24, YES_AND_NO)
    assert found.number == 1
    assert found.low == pytest.approx(0.8, abs=0.05)


def test_one_prompt_is_its_own_interval() -> None:
    assert interval([7.0]).model_dump() == {"number": 7, "low": 7, "high": 7}


def test_the_same_readings_give_the_same_interval() -> None:
    readings = list(np.random.default_rng(0).normal(40, 2, 24))
    assert interval(readings) == interval(readings)


def test_a_ratio_is_formed_of_the_same_prompts() -> None:
    hard = np.random.default_rng(0).exponential(1, 24) + 0.1
    found = ratio_interval(list(0.5 * hard), list(hard))
    assert (found.low, found.number, found.high) == pytest.approx((0.5, 0.5, 0.5))


def test_as_many_prompts_as_are_said_to_be_needed_settle_it() -> None:
    dice = np.random.default_rng(0)
    few = list(dice.normal(1, 1, 16))
    bound = float(np.mean(few)) - 0.2
    needed = prompts_needed(few, bound)
    assert needed is not None
    assert 50 < needed < 200
    assert interval((few * (needed // 16 + 2))[: needed + 16]).low > bound

"""Eight publishers of one repository at once: nobody overwrites, nothing is published twice, everybody is told.

Who loses ends with 8, hears who published what, and publishes on top of it when asked again.
"""

from __future__ import annotations

from typing import Any

import pytest

from tests.soak.sampled import sample

pytestmark = pytest.mark.nightly

MEET = "tests.soak.publishers"


@pytest.fixture(scope="module")
def meetings() -> dict[int, dict[str, Any]]:
    """Rounds in which all hold a proven pull request before the first promotes, by the number of their contents."""
    return {line["contents"]: line for line in sample(MEET, "--rounds", 3)}


def test_the_same_content_is_published_once_and_everybody_is_content(meetings: dict[int, dict[str, Any]]) -> None:
    assert meetings[1]["codes"] == [0] * 8
    assert meetings[1]["commits"] == 1


def test_of_different_contents_one_wins(meetings: dict[int, dict[str, Any]]) -> None:
    assert meetings[8]["codes"] == [0] + [8] * 7
    assert meetings[8]["commits"] == 1


def test_who_has_the_winning_content_wins_with_it(meetings: dict[int, dict[str, Any]]) -> None:
    assert meetings[4]["codes"] == [0] * 2 + [8] * 6
    assert meetings[4]["commits"] == 1

"""Whatever a recipe, a source or a Hub says, the answer is a result or a reason: no trace, no hang, no stray file.

A sample; ``make soak`` has ten thousand inputs of each kind.
"""

from __future__ import annotations

import pytest

from tests.soak.sampled import sample

pytestmark = pytest.mark.nightly

INPUTS = {"recipes": 60, "headers": 150, "answers": 24}


@pytest.mark.parametrize("what", INPUTS)
def test_no_input_ends_in_a_trace_a_hang_or_a_write_elsewhere(what: str) -> None:
    (told,) = sample("tests.soak.fuzz", "--what", what, "--inputs", INPUTS[what], "--seed", 8)
    assert told["inputs"] == INPUTS[what]
    assert len(told["ends"]) > 1, "every input came to the same end"

"""Texts are kept with their tokens, whatever is in them, and told apart by what they say."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.tasks.protocol import IDENTICAL, Given
from pipeline.tasks.texts.text import ALIKE, Text, content, decibels, read, save, sketch

TEXTS = st.text(st.characters(exclude_categories=["Cs"]))


@settings(deadline=None)
@given(TEXTS, st.lists(st.tuples(st.integers(0, 2**31), TEXTS, st.floats(-100, 0))))
def test_what_is_written_is_read(
    tmp_path_factory: pytest.TempPathFactory, text: str, tokens: list[tuple[int, str, float]]
) -> None:
    path = tmp_path_factory.getbasetemp() / "text.json"
    ids, pieces, logprobs = zip(*tokens, strict=True) if tokens else ((), (), ())
    save(Given(np.array(logprobs), text=text, tokens=ids, pieces=pieces), path)
    found = read(path)
    assert (found.text, found.tokens, found.pieces) == (text, ids, pieces)
    np.testing.assert_allclose(found.logprobs, logprobs, atol=1e-6)


def test_only_what_is_said_makes_two_texts_one() -> None:
    one, sure = Text("a cat", (1, 2), ("a", " cat"), (-1.0, -2.0)), Text("a cat", (1, 2), ("a", " cat"), (-0.1, -0.2))
    assert content(one) == content(sure)
    assert content(one) != content(Text("a cat", (1, 3)))
    assert content(one) != content(Text("a dog", (1, 2)))


def test_sketches_are_near_where_the_words_are_the_same() -> None:
    one, same, other = (sketch(Text(text)) for text in ("a cat sat", "a  cat sat ", "a dog sat"))
    assert abs(one - same).mean() < ALIKE < abs(one - other).mean()
    assert not sketch(Text("")).any()


def test_decibels_of_log_probabilities() -> None:
    values = np.array([-1.0, -2.0])
    assert decibels(values, values) == IDENTICAL
    assert 39 < decibels(values, values * 1.01) < 41
    assert decibels(values, np.array([-1.0])) == 0
    assert decibels(values, np.array([-1.0, np.nan])) == 0

"""What a page hears is held to the limits on every transcript, whichever way of them is better."""

from __future__ import annotations

from pipeline.tasks import TASKS
from pipeline.tasks.metrics import Pair, PairMetric
from pipeline.tasks.texts.text import Text
from pipeline.validate.browser.judging import begun_otherwise, beyond, readings
from pipeline.validate.limits import Limit

SILENCE = TASKS["automatic-speech-recognition"].metrics["insertions_on_silence"]
AGREEMENT = TASKS["automatic-speech-recognition"].metrics["token_agreement"]


def pair(at: int, said: str, own: str, other: str) -> Pair:
    return Pair(at, f"clip {at}", said, 0, Text(own, (1, 2), ("a", "b"), (0.0, 0.0)), Text(other))


def test_more_words_in_silence_than_the_source_hears_are_too_many() -> None:
    assert isinstance(SILENCE, PairMetric)
    pairs = (pair(0, "", "you", "you and me"), pair(1, "two words", "two words", "two words"))
    limit = Limit("worst drop", "max", 0.0)
    assert beyond(SILENCE, limit, readings(SILENCE, pairs, {(0, 0), (1, 0)})) == (pairs[0], 2.0)
    assert beyond(SILENCE, Limit("worst drop", "max", 2.0), readings(SILENCE, pairs, {(0, 0)})) is None


def test_nothing_is_read_of_silence_where_something_is_said() -> None:
    assert isinstance(SILENCE, PairMetric)
    pairs = (pair(0, "", "you", "you"), pair(1, "two words", "two words", "two words"))
    assert readings(SILENCE, pairs, {(1, 0)}) == []


def test_words_are_compared_where_a_page_tells_no_tokens() -> None:
    assert isinstance(AGREEMENT, PairMetric)
    ((_, found),) = readings(AGREEMENT, (pair(0, "", "the cat sat down", "the cat sat up"),), {(0, 0)})
    assert found.value == 0.75


def test_texts_may_part_but_not_all_from_the_first_word() -> None:
    native = (pair(0, "", "a", "The moon is up."), pair(1, "", "b", ""), pair(2, "", "c", "Three"))
    parted = (pair(0, "", "a", "The moon has set."), pair(1, "", "b", "Two"), pair(2, "", "c", "Four"))
    words = TASKS["text-generation"].medium.words
    assert words
    assert begun_otherwise(words, parted, native, {(0, 0), (1, 0)}) is None
    assert begun_otherwise(words, parted, native, {(1, 0), (2, 0)}) is parted[1]
    assert begun_otherwise(words, native, native, {(1, 0)}) is None, "an empty text is one, too"


def test_answers_are_equal_where_a_page_tells_no_tokens_by_their_words() -> None:
    equal = TASKS["text-generation"].metrics["answers_equal"]
    assert isinstance(equal, PairMetric)
    two = (pair(0, "", "the cat", "the cat"), pair(1, "", "the cat", "the dog"))
    assert [found.value for _, found in readings(equal, two, {(0, 0), (1, 0)})] == [1.0, 0.0]

"""Transcripts: what a model hears, held against what was said and against what its source hears."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final, Literal

from pipeline.tasks.metrics import Measured, MetricInput, Pair, PairMetric, Reading
from pipeline.tasks.texts.text import Text

REPEATED: Final = 2.4  # as Whisper has it: a text that zlib makes smaller than this repeats itself


@lru_cache(maxsize=4096)
def plain(text: str) -> str:
    """Return a text as error rates compare it: without case, marks and fillers, numbers as digits.

    English goes by Whisper's normalizer for English, without its table of British spellings, which is a file of each
    model; what has letters of other scripts by the basic one, which changes no word.
    """
    from transformers.models.whisper.english_normalizer import BasicTextNormalizer, EnglishTextNormalizer

    normalizer = EnglishTextNormalizer({}) if text.isascii() else BasicTextNormalizer()
    return str(normalizer(text)).strip()


def words(text: str) -> list[str]:
    """Return the words of a text that are compared."""
    return plain(text).split()


def edits(said: Sequence[Any], heard: Sequence[Any]) -> int:
    """Return the fewest insertions, deletions and substitutions that make one sequence of another (Levenshtein)."""
    row = list(range(len(heard) + 1))
    for at, one in enumerate(said, 1):
        before, row[0] = row[0], at
        for to, other in enumerate(heard, 1):
            before, row[to] = row[to], min(row[to] + 1, row[to - 1] + 1, before + (one != other))
    return row[-1]


def fault(text: Text, reference: Text) -> str:
    """Return what makes a transcript none, as the end of the sentence "it is ..."; empty for nothing."""
    if reference.text.strip() and not text.text.strip():
        return "empty, where the source hears something"
    ratio = compression_ratio(text.text)
    return f"a repetition: it can be written {ratio:.1f} times shorter" if ratio > REPEATED else ""


def compression_ratio(text: str) -> float:
    """Return how many times shorter zlib writes a text, as Whisper's own guard counts it."""
    content = text.encode()
    return len(content) / len(zlib.compress(content)) if content else 0.0


def _error_rate(split: Callable[[str], Sequence[str]]) -> Callable[[MetricInput], list[Reading]]:
    """Return what reads the share of words or letters that are wrong, of each clip in which something is said.

    A clip weighs as much as is said in it, so the mean is the rate of all clips together.
    """

    def of(pair: Pair) -> Reading:
        said = split(pair.label or "")
        if not said:
            return Reading(0.0, 0.0, weight=0.0)
        own, other = (edits(said, split(side.text)) / len(said) for side in (pair.reference, pair.candidate))
        return Reading(other, own, weight=float(len(said)))

    return lambda given: [of(pair) for pair in given.pairs]


def _agreement(given: MetricInput) -> list[Reading]:
    """Share of the source's tokens and the candidate's that are the same, aligned by the fewest edits.

    Of words, where a side tells no tokens, as pages do not.
    """

    def of(pair: Pair) -> float:
        sides = (pair.reference, pair.candidate)
        told = all(side.tokens for side in sides)
        own, other = ([*side.tokens] if told else words(side.text) for side in sides)
        return 1 - edits(own, other) / max(len(own), len(other), 1)

    return [Reading(of(pair)) for pair in given.pairs]


def _insertions(given: MetricInput) -> list[Reading]:
    """Words that are heard in a clip in which nothing is said."""

    def of(pair: Pair) -> Reading:
        own, other = (float(len(words(side.text))) for side in (pair.reference, pair.candidate))
        return Reading(other, own, weight=float(pair.label == ""))

    return [of(pair) for pair in given.pairs]


def _lacks_words(given: MetricInput) -> str:
    said = any(pair.label and words(pair.label) for pair in given.pairs)
    return "" if said else "the transcript of a clip in which something is said"


def _lacks_silence(given: MetricInput) -> str:
    return "" if any(pair.label == "" for pair in given.pairs) else 'a clip whose transcript is empty, ""'


@dataclass(frozen=True)
class RealTimeFactor:
    """Seconds that are needed for a second of sound; the very first clip of each side includes warming up."""

    unit: str = ""
    direction: Literal["higher", "lower"] = "lower"
    span: None = None
    ends: tuple[float, float] = (0.0, float("inf"))
    tail: None = None

    def lacks(self, given: MetricInput) -> str:
        """The first clip alone says nothing, and two machines are not compared."""
        if given.facts is None:
            return "what both sides measured of themselves"
        if given.facts[0].machine != given.facts[1].machine:
            return "both sides on one machine"
        return "" if len(given.pairs) > 1 else "a second clip, for the first one warms up"

    def measure(self, given: MetricInput) -> Measured:
        """Divide both sides' seconds by those of the sound."""
        import numpy as np

        heard = sum(float(np.load(pair.besides["sound"][0])[0]) for pair in given.pairs[1:])
        own, other = (sum(side.seconds_per_call[1:]) / heard for side in given.facts or ())
        return Measured(other, own)


WER: Final = PairMetric("", "lower", _error_rate(words), _lacks_words, ends=(0.0, float("inf")))
CER: Final = PairMetric("", "lower", _error_rate(plain), _lacks_words, ends=(0.0, float("inf")))
TOKEN_AGREEMENT: Final = PairMetric("", "higher", _agreement, ends=(0.0, 1.0))
INSERTIONS: Final = PairMetric("words", "lower", _insertions, _lacks_silence, ends=(0.0, float("inf")))
REAL_TIME_FACTOR: Final = RealTimeFactor()

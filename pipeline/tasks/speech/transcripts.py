"""Transcripts: what a model hears, held against what was said and against what its source hears."""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final, Literal

from pipeline.tasks.metrics import Measured, MetricInput, Pair, PairMetric, Reading
from pipeline.tasks.texts.text import Text

REPEATED: Final = 2.4  # as Whisper has it: a text that zlib makes smaller than this repeats itself
STRETCH: Final = 300  # letters of a text that are judged at once, fewer than what is said in half a minute
DOTS: Final = re.compile(r"\.\.+|…")  # of which Whisper's normalizer for English leaves a word
ENGLISH: Final = ("en", "english", "<|en|>")  # as `generate` takes it


@lru_cache(maxsize=4096)
def plain(text: str, language: str) -> str:
    """Return a text as error rates compare it: without case and marks; of English without fillers, numbers as digits.

    English goes by Whisper's normalizer for English, without its table of British spellings, which is a file of each
    model; what is not known to be English by the basic one, which changes no word.
    """
    from transformers.models.whisper.english_normalizer import BasicTextNormalizer, EnglishTextNormalizer

    normalizer = EnglishTextNormalizer({}) if language.lower() in ENGLISH else BasicTextNormalizer()
    return str(normalizer(DOTS.sub(" ", text).replace("\N{RIGHT SINGLE QUOTATION MARK}", "'"))).strip()


def words(text: str, language: str) -> list[str]:
    """Return the words of a text that are compared."""
    return plain(text, language).split()


def edits(said: Sequence[Any], heard: Sequence[Any]) -> int:
    """Return the fewest insertions, deletions and substitutions that make one sequence of another (Levenshtein)."""
    import numpy as np

    numbers: dict[Any, int] = {}
    one, other = (np.array([numbers.setdefault(it, len(numbers)) for it in side], int) for side in (said, heard))
    places = np.arange(len(other) + 1)
    row = places
    for it in one:
        found = row + 1
        found[1:] = np.minimum(found[1:], row[:-1] + (other != it))
        row = np.minimum.accumulate(found - places) + places  # an insertion costs one more than the place before
    return int(row[-1])


def fault(text: Text, reference: Text) -> str:
    """Return what makes a transcript none, as the end of the sentence "it is ..."; empty for nothing."""
    if reference.text.strip() and not text.text.strip():
        return "empty, where the source hears something"
    ratio = compression_ratio(text.text)
    repeats = ratio > REPEATED >= compression_ratio(reference.text)
    return f"a repetition, where the source's is none: it can be written {ratio:.1f} times shorter" if repeats else ""


def compression_ratio(text: str) -> float:
    """Return how many times shorter zlib writes the stretch of a text that repeats itself most.

    Whisper's own guard looks at half a minute, as this does: the longer a text, the shorter it can be written. Letters
    are numbered, each a byte, for UTF-8 has up to four for one, of which all but the last are the same in many scripts.
    """
    numbers = {letter: number % 256 for number, letter in enumerate(dict.fromkeys(text))}
    content = bytes(numbers[letter] for letter in text)
    begins = range(0, max(1, len(content) - STRETCH // 2), STRETCH // 2)
    stretches = [content[begin : begin + STRETCH] for begin in begins]
    return max(len(stretch) / len(zlib.compress(stretch)) for stretch in stretches)


def deaf(pairs: Sequence[Pair]) -> str:
    """Return that a source hears nothing of what is said, as a sentence; empty for one that does."""
    for pair in pairs:
        if pair.label and not pair.reference.text.strip():
            return f"The transcript for {pair.prompt!r} is empty, where {pair.label[:60]!r} is said."
    given = MetricInput(tuple(pairs))
    rate = 0.0 if WER.lacks(given) else WER.measure(given).reference or 0.0
    wrong = f"{rate:.1f} words are wrong for each that is said, as with a tokenizer or spectrograms of another model"
    return f"Its transcripts have nothing to do with the clips: {wrong}." if rate >= 1 else ""


def _error_rate(split: Callable[[str, str], Sequence[str]]) -> Callable[[MetricInput], list[Reading]]:
    """Return what reads the share of words or letters that are wrong, of each clip in which something is said.

    A clip weighs as much as is said in it, so the mean is the rate of all clips together.
    """

    def of(pair: Pair) -> Reading:
        language = pair.reference.language  # one rule for all that is compared
        said = split(pair.label or "", language)
        if not said:
            return Reading(0.0, 0.0, weight=0.0)
        sides = (pair.reference, pair.candidate)
        own, other = (edits(said, split(side.text, language)) / len(said) for side in sides)
        return Reading(other, own, weight=float(len(said)))

    return lambda given: [of(pair) for pair in given.pairs]


def _agreement(given: MetricInput) -> list[Reading]:
    """Share of the source's tokens and the candidate's that are the same, aligned by the fewest edits.

    Of words, where a side tells no tokens, as pages do not.
    """

    def of(pair: Pair) -> float:
        sides = (pair.reference, pair.candidate)
        told = all(side.tokens for side in sides)
        own, other = ([*side.tokens] if told else words(side.text, pair.reference.language) for side in sides)
        return 1 - edits(own, other) / max(len(own), len(other), 1)

    return [Reading(of(pair)) for pair in given.pairs]


def _insertions(given: MetricInput) -> list[Reading]:
    """Words that are heard in a clip in which nothing is said."""

    def of(pair: Pair) -> Reading:
        sides = (pair.reference, pair.candidate)
        own, other = (float(len(words(side.text, pair.reference.language))) for side in sides)
        return Reading(other, own, weight=float(pair.label == ""))

    return [of(pair) for pair in given.pairs]


def _lacks_words(given: MetricInput) -> str:
    said = any(pair.label and words(pair.label, pair.reference.language) for pair in given.pairs)
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

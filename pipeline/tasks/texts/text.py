"""Answers that are texts, with the tokens that they were made of: how they are kept and told apart."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final
from zlib import crc32

from pipeline.tasks.protocol import IDENTICAL, Given

SUFFIX: Final = ".json"
BUCKETS: Final = 256  # that words are counted in
ALIKE: Final = 1e-9  # two texts are one to people where their words are

EXPECTED: Final = "expected"  # log probabilities of the whole vocabulary, float16, shape (places, vocabulary)
SAID: Final = "said"  # log probabilities of the tokens that are there, float32, shape (tokens,)


@dataclass(frozen=True)
class Text:
    """A text as a model gave it.

    Attributes:
        text: What people read.
        tokens: The ids of its tokens, those that end it included.
        pieces: What each of them stands for, as its tokenizer spells it alone.
        logprobs: The natural logarithm of the probability that the model gave each when it chose it.
        expected: The places at which it was asked what it expects, and the tokens of its vocabulary; nothing where it
            was not asked.
        language: That which it is known to be in, such as ``en``; empty where nobody said.
    """

    text: str
    tokens: tuple[int, ...] = ()
    pieces: tuple[str, ...] = ()
    logprobs: tuple[float, ...] = ()
    expected: tuple[int, ...] = ()
    language: str = ""


def save(given: Given, path: Path) -> None:
    """Write a text and its tokens as JSON; `Given.values` are their log probabilities, shape (tokens,)."""
    logprobs = [round(float(value), 6) for value in given.values]
    expected = given.besides[EXPECTED].shape if EXPECTED in given.besides else ()
    made = Text(given.text, tuple(given.tokens), tuple(given.pieces), tuple(logprobs), expected, given.language)
    path.write_text(json.dumps(asdict(made), ensure_ascii=False), encoding="utf-8")


def read(path: Path) -> Text:
    """Return a text that was written."""
    found = json.loads(path.read_text(encoding="utf-8"))
    text, language = found.pop("text"), found.pop("language")
    return Text(text, language=language, **{name: tuple(values) for name, values in found.items()})


def content(text: Text) -> bytes:
    """Return what two texts that are the same have in common: words and tokens, and not how sure the model was."""
    return json.dumps([text.text, text.tokens]).encode()


def unlike(reference: Text, candidate: Text) -> None:
    """Return nothing: any two texts can be compared."""


def sketch(text: Text) -> Any:
    """Return how often words come, in `BUCKETS` of them, as shares; zeros of an empty text."""
    import numpy as np

    counted = np.zeros(BUCKETS)
    words = text.text.split()
    for word in words:
        counted[crc32(word.encode()) % BUCKETS] += 1 / len(words)
    return counted


def decibels(one: Any, other: Any) -> float:
    """Return how far the log probabilities of two texts are apart; 0 where one has more tokens than the other."""
    import numpy as np

    first, second = (np.asarray(values, np.float64) for values in (one, other))
    if first.shape != second.shape:
        return 0.0
    own, noise = float(np.square(first).sum()), float(np.square(first - second).sum())
    if not np.isfinite(noise):
        return 0.0
    return min(IDENTICAL, float(10 * np.log10(own / noise))) if noise and own else IDENTICAL

"""What differs between two texts, word by word or token by token: for pages and cards."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from math import exp

from pipeline.tasks.texts.text import Text


@dataclass(frozen=True)
class Run:
    """Some words one after the other.

    Attributes:
        of: Who says them: ``both``, only the ``source``, or only the ``candidate``.
        text: The words.
    """

    of: str
    text: str


@dataclass(frozen=True)
class Piece:
    """A token of a text.

    Attributes:
        text: What it stands for.
        differs: Whether the other text has another there.
        probability: How likely the model held it, in percent; empty where nobody knows.
    """

    text: str
    differs: bool
    probability: str = ""


def runs(reference: str, candidate: str) -> list[Run]:
    """Return two texts as one, in which what only one of them says stands one after the other."""
    own, other = reference.split(), candidate.split()
    found = []
    for kind, *(begin, end, first, last) in opcodes(own, other):
        if kind == "equal":
            found.append(Run("both", " ".join(own[begin:end])))
            continue
        found.append(Run("source", " ".join(own[begin:end])))
        found.append(Run("candidate", " ".join(other[first:last])))
    return [run for run in found if run.text]


def pieces(reference: Text, candidate: Text) -> tuple[list[Piece], list[Piece]]:
    """Return the tokens of both texts, each with whether the other has it too."""
    own, other = set(), set()
    for kind, begin, end, first, last in opcodes(reference.tokens, candidate.tokens):
        if kind != "equal":
            own |= set(range(begin, end))
            other |= set(range(first, last))
    return _pieces(reference, own), _pieces(candidate, other)


def opcodes(own: Sequence[Hashable], other: Sequence[Hashable]) -> Sequence[tuple[str, int, int, int, int]]:
    """Return how one sequence becomes the other, as `difflib` has it; nothing counts as too frequent to be compared."""
    return SequenceMatcher(None, own, other, autojunk=False).get_opcodes()


def _pieces(text: Text, differing: set[int]) -> list[Piece]:
    if not text.pieces:
        return [Piece(text.text, differs=False)]
    likely = [f"{100 * exp(logprob):.3g} %" for logprob in text.logprobs]
    both = zip(text.pieces, likely, strict=True)
    return [Piece(piece, at in differing, probability) for at, (piece, probability) in enumerate(both)]

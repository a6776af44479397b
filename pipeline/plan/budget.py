"""The choice of schemes for a budget: of all that may be done to each component, what keeps most within the limits."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import log10
from typing import Final

from pipeline.recipe import Quantization

ALIKE: Final = 0.5  # decibels to which the SQNR of a scheme is known


@dataclass(frozen=True)
class Candidate:
    """One thing that may be done to a component, be it nothing.

    Attributes:
        quantization: What; none where it stays as it is.
        size: Bytes of its weights in files.
        memory: Bytes of its weights when they are loaded.
        parameters: How many of them are quantized.
        sqnr: Decibels of signal over noise that are left of those.
        rows: On how many rows of the source those were measured; none where they are expected of normal weights.
    """

    quantization: Quantization | None
    size: int
    memory: int
    parameters: int = 0
    sqnr: float = 0.0
    rows: int = 0

    @property
    def noise(self) -> float:
        """The noise that is expected, in parameters that are nothing else."""
        return self.parameters * 10 ** (-self.sqnr / 10)

    @property
    def words(self) -> str:
        """Backend and scheme; empty where the component stays as it is."""
        return self.quantization.words if self.quantization else ""


@dataclass(frozen=True)
class Choice:
    """What is done to some components, and what comes of it; the sums are over those components."""

    parts: Mapping[str, Candidate]
    size: int = 0
    memory: int = 0
    noise: float = 0.0
    backends: frozenset[str] = frozenset()

    @property
    def quantized(self) -> dict[str, Quantization]:
        """The components that are quantized."""
        return {name: part.quantization for name, part in self.parts.items() if part.quantization}

    @property
    def order(self) -> tuple[float, int, int, int, list[str]]:
        """Where it stands among others: first the least noise, then the fewest backends, then the smallest."""
        words = [part.words for part in self.parts.values()]
        return self.noise, len(self.backends), self.size, self.memory, words

    def joined(self, name: str, part: Candidate) -> Choice:
        """Return the choice for one component more."""
        backends = self.backends | ({part.quantization.backend} if part.quantization else set())
        sums = self.size + part.size, self.memory + part.memory, self.noise + part.noise
        return Choice({**self.parts, name: part}, *sums, frozenset(backends))

    def sqnr(self, parameters: int) -> float:
        """Return the decibels that are expected over so many parameters."""
        return round(10 * log10(parameters / self.noise), 1)


def choices(candidates: Mapping[str, Sequence[Candidate]]) -> list[Choice]:
    """Return every way to treat the components that quantizes any and is not worse in everything than another.

    A part that is larger and noisier than another of the same backends is in no best whole, so only the others are
    carried from component to component; this finds what trying all combinations would.
    """
    found = [Choice({})]
    for name, parts in candidates.items():
        found = _best([choice.joined(name, part) for choice in found for part in parts])
    return sorted((choice for choice in found if choice.quantized), key=lambda choice: choice.order)


def within(found: Iterable[Choice], size: float | None, memory: float | None) -> list[Choice]:
    """Return the choices within limits of bytes, the best first.

    Of those that are as good as the best by all that is known, the one of the fewest backends is the best: whoever
    loads it has to install them.
    """
    fitting = [
        choice
        for choice in found
        if (size is None or choice.size <= size) and (memory is None or choice.memory <= memory)
    ]
    if not fitting:
        return []
    least = min(choice.noise for choice in fitting)
    alike = [choice for choice in fitting if choice.noise <= least * 10 ** (ALIKE / 10)]
    best = min(alike, key=lambda choice: (len(choice.backends), choice.order))
    return [best, *(choice for choice in fitting if choice is not best)]


def _best(found: list[Choice]) -> list[Choice]:
    """Return those of which none of the same backends is at least as good in everything."""
    kept: dict[frozenset[str], list[Choice]] = {}
    for choice in sorted(found, key=lambda choice: choice.order):
        group = kept.setdefault(choice.backends, [])
        if not any(other.size <= choice.size and other.memory <= choice.memory for other in group):
            group.append(choice)
    return [choice for group in kept.values() for choice in group]

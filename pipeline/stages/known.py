"""Known: what a card may say, gathered from report and plan by other ways than those by which templates are filled.

A number counts as known in three ways. It stands in a text of report or plan that is repeated word for word, such as a
version behind its package. It counts something that they count, and the noun right behind it says what. Or it is a
rounded measurement, and has a decimal point, so that no count passes for one. A long list enters by its ends and its
middle: among hundreds of numbers a wrong one would find its like.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from statistics import median
from typing import Any, Final

from pipeline.files import human_size

OURS: Final = ("95 %", "SHA-256")  # words of ours with a digit
LONG: Final = frozenset({"pairs", "layers", "seconds_per_call", "files"})
UNMEASURED: Final = frozenset({"judgements", "require", "versions", "prompts", "prompt", "seeds", "seed", "call"})
NUMBER: Final = re.compile(r"-?(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.(\d+))?")
BARE: Final = re.compile(r"[-+]?[\d.,]+(?:e[-+]?\d+)?", re.IGNORECASE)
UNCHANGED: Final = 100.0  # decibels of an answer that is exactly the source's
SCALES: Final = {"ms": 1e3, "thousand": 1e-3, "million": 1e-6, "billion": 1e-9}
SIZES: Final = frozenset({"B", "kB", "MB", "GB"})

JSON = Mapping[str, Any]


@dataclass(frozen=True)
class Known:
    """What a card may say.

    Attributes:
        plan: The plan as JSON.
        report: The report as JSON.
        words: Further texts that are repeated: the usage, what the schemes do, the source's license.
    """

    plan: JSON
    report: JSON
    words: Sequence[str] = ()

    def has(self, shown: str, before: str = "", after: str = "") -> bool:
        """Return whether a number is known.

        Args:
            shown: The number as the card has it.
            before: The word before it.
            after: The word right behind it.
        """
        found = NUMBER.fullmatch(shown)
        if not found:
            return False
        number = float(shown.replace(",", ""))
        if after in SIZES:
            return any(human_size(value) == f"{shown} {after}" for value in self.measured)
        if found[1]:
            scale, places = SCALES.get(after, 1), len(found[1])
            return any(round(value * scale, places) == number for value in self.measured)
        return number in (self.seeds if before == "seed" else self.counts.get(after.removesuffix("s"), ()))

    @cached_property
    def texts(self) -> re.Pattern[str]:
        """Finds, as whole words, every text with a digit that may be repeated; a bare number only in quotes."""
        found = [*strings(self.plan), *strings(self.report), *self.words, *OURS]
        found += [
            f"{name} {version}" for side in (self.plan, *self.sides) for name, version in side["versions"].items()
        ]
        found += [text.rpartition("/")[2] for text in found]
        flat = {" ".join(text.split()) for text in found if any(char.isdigit() for char in text)}
        ranked = sorted((f"“{text}”" if BARE.fullmatch(text) else text for text in flat), key=len, reverse=True)
        either = "|".join(re.escape(text).replace(r"\ ", r"\s+") for text in ranked)
        return re.compile(rf"(?<![\w.-])(?:{either})(?![\w-]|\.\w)")

    @cached_property
    def measured(self) -> frozenset[float]:
        """The measurements."""
        lists = [side["seconds_per_call"] for side in self.sides]
        lists += [[layer["sqnr"] for layer in part if layer["quantized"]] for part in self.components]
        known = [[value for value in found if value is not None] for found in lists]
        return frozenset(
            chain(
                numbers(self.plan),
                numbers(self.report),
                *((min(found), median(found), max(found)) for found in known if found),
                (pair["values"][name] for name, pair in self.shown),
            )
        )

    @cached_property
    def counts(self) -> Mapping[str, frozenset[int]]:
        """How many there are of what a card counts, by the noun."""
        asked, report, again = self.plan["validation"], self.report, self.report["floor"] or {}
        parts, dataset = self.plan["components"].values(), asked.get("dataset") or {}
        reasons = [list(part["kept"].values()) for part in parts]
        found = {
            "prompt": [len(asked["prompts"])],
            "seed": [len(asked["seeds"])],
            "picture": [len(report["pairs"]), report["identical"], again.get("pairs"), again.get("identical")],
            "layer": [count for part in self.components for count in counted(part)],
            "tensor": [part["tensors"] for part in parts],
            "parameter": [part[kind] for part in parts for kind in ("parameters", "parameters_left")],
            "module": [part.count(reason) for part in reasons for reason in part],
            "row": [dataset.get("rows"), dataset.get("repeated")],
        }
        return {noun: frozenset(count for count in counts if count is not None) for noun, counts in found.items()}

    @cached_property
    def seeds(self) -> frozenset[int]:
        """The seeds that are named: of the snippet, of a dataset's sample and of the pictures that are shown."""
        asked = self.plan["validation"]
        sample = asked["dataset"]["seed"] if asked.get("dataset") else asked["seeds"][0]
        return frozenset({asked["seeds"][0], sample, *(pair["seed"] for _, pair in self.shown)})

    @property
    def sides(self) -> tuple[JSON, JSON]:
        """How the source answered, and how the candidate did."""
        return self.report["reference"], self.report["candidate"]

    @property
    def components(self) -> list[list[JSON]]:
        """The layers by component."""
        layers = self.report["layers"]
        names = dict.fromkeys(layer["component"] for layer in layers)
        return [[layer for layer in layers if layer["component"] == name] for name in names]

    @property
    def shown(self) -> Iterator[tuple[str, JSON]]:
        """The pairs at the ends and in the middle of what a metric says."""
        for name in self.report["metrics"]:
            read = [pair for pair in self.report["pairs"] if name in pair["values"]]
            read.sort(key=lambda pair: pair["values"][name] - pair["reference_values"].get(name, 0.0))
            last = len(read) - 1
            for at in {0, last // 2, (last + 1) // 2, last} if read else ():
                yield name, read[at]


def counted(layers: Sequence[JSON]) -> tuple[int, int]:
    """Return how many layers are quantized, and how many of the others are exactly the source's."""
    taken = [layer["sqnr"] for layer in layers if layer["quantized"]]
    return len(taken), sum(layer["sqnr"] == UNCHANGED for layer in layers if not layer["quantized"])


def strings(value: Any) -> Iterator[str]:
    """Return every text and key of a JSON value, except versions, which mean something behind their names only."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for key, inner in value.items():
            yield key
            yield from strings(inner) if key != "versions" else ()
    elif isinstance(value, Sequence):
        for inner in value:
            yield from strings(inner)


def numbers(value: Any) -> Iterator[float]:
    """Return the measurements of a JSON value, without those of long lists; of an interval also half its width."""
    if isinstance(value, Mapping):
        if {"low", "high"} <= value.keys():
            yield (value["high"] - value["low"]) / 2
        for key, inner in value.items():
            yield from numbers(inner) if key not in LONG | UNMEASURED else ()
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from numbers(inner)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield value

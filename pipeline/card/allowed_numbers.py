"""Known: the book of what a card may say, kept by other ways than those by which templates are filled.

Every number in it is of something that has a name: a metric, a component, a prompt whose pictures are shown. The
rest is of the whole. A word says which number is meant: the drop, the floor, the source's own.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from statistics import median
from typing import Any, Final

from pipeline.files import human_size

OURS: Final = ("95 %", "SHA-256")  # words of ours with a digit
UNCHANGED: Final = 100.0  # decibels of an answer that is exactly the source's
ROLES: Final = ("source", "floor", "drop", "ratio", "within", "median", "least")  # words that say which number is meant
SIZES: Final = frozenset({"B", "kB", "MB", "GB"})
LARGE: Final = {"thousand": 1e3, "million": 1e6, "billion": 1e9}
NUMBER: Final = re.compile(r"-?(?:[1-9]\d{0,2}(?:,\d{3})+|0|[1-9]\d*)(?:\.(\d+))?")
BARE: Final = re.compile(r"[-+]?[\d.,]{1,16}(?:e[-+]?\d+)?", re.IGNORECASE)  # a commit of digits alone is none

JSON = Mapping[str, Any]


@dataclass(frozen=True)
class Numbers:
    """The numbers of one thing.

    Attributes:
        measured: Measurements by their unit, empty for those without one; bytes have the unit ``B``.
        counted: Counts by their noun, in the singular.
        named: Numbers that are names, by the word before them, such as ``seed``.
    """

    measured: Mapping[str, Sequence[float]] = field(default_factory=dict)
    counted: Mapping[str, Sequence[int | None]] = field(default_factory=dict)
    named: Mapping[str, Sequence[int]] = field(default_factory=dict)

    def has(self, shown: str, before: str, after: str, unit: str) -> bool:
        """Return whether a number is one of these, at the digits that are shown.

        A whole number is a count and its noun stands right behind it; a measurement has a decimal point, so that no
        count passes for one.

        Args:
            shown: The number as a card has it.
            before: The word before it.
            after: The word right behind it.
            unit: That word, if it is a unit.
        """
        found = NUMBER.fullmatch(shown)
        if not found:
            return False
        number = float(shown.replace(",", ""))
        if after in SIZES:
            return any(human_size(value) == f"{shown} {after}" for value in self.measured.get("B", ()))
        if after in LARGE:
            counts = [count or 0 for counts in self.counted.values() for count in counts]
            return any(round(count / LARGE[after], len(found[1] or "")) == number for count in counts)
        if found[1]:
            return any(round(value, len(found[1])) == number for value in self.measured.get(unit, ()))
        return number in self.named.get(before, self.counted.get(after.removesuffix("s"), ()))


@dataclass(frozen=True)
class AllowedNumbers:
    """What a card may say.

    Attributes:
        plan: The plan as JSON.
        report: The report as JSON.
        words: Further texts that are repeated: the usage, what the schemes do, the source's license.
    """

    plan: JSON
    report: JSON
    words: Sequence[str] = ()

    def has(self, name: str, role: str, number: tuple[str, str, str]) -> bool:
        """Return whether a number is one of what was named last, or of the whole.

        Args:
            name: What was named last; empty for nothing.
            role: Which of its numbers is meant.
            number: The number as a card has it, with the words before and behind it.
        """
        unit = number[2] if number[2] in self.units else ""
        known = [self.book.get((one, role)) or self.book[one, ""] for one in (name, "")]
        return any(numbers.has(*number, unit) for numbers in known)

    @cached_property
    def book(self) -> Mapping[tuple[str, str], Numbers]:
        """All numbers, by what they are of and which they are."""
        whole = {("", ""): self.of_all("candidate"), ("", "source"): self.of_all("reference")}
        return whole | dict((*self.of_metrics(), *self.of_components(), *self.of_pictures()))

    @cached_property
    def units(self) -> frozenset[str]:
        """The units of measurements."""
        return frozenset(unit for numbers in self.book.values() for unit in numbers.measured)

    def of_all(self, side: str) -> Numbers:
        """Return what is of no part: sizes, the memory of one side, and how many questions there were."""
        plan, report, again = self.plan, self.report, self.report["floor"] or {}
        asked, told = plan["validation"], report[side]
        dataset = asked.get("dataset") or {}
        sizes = (plan["source_bytes"], plan["result_bytes"], told["peak_memory_bytes"], told["peak_device_bytes"])
        return Numbers(
            {
                "B": [size for size in sizes if size is not None],
                "": [lora["scale"] for lora in plan.get("loras", ())],
            },
            {
                "prompt": [len(asked["prompts"])],
                "seed": [len(asked["seeds"])],
                "picture": [len(report["pairs"])],
                "pair": [report["identical"]],
                "repetition": [again.get("pairs")],
                "time": [again.get("identical")],
                "row": [dataset.get("rows")],
            },
            {"seed": [dataset["seed"]] if dataset else []},
        )

    def of_metrics(self) -> Iterator[tuple[tuple[str, str], Numbers]]:
        """Return the numbers of every metric."""
        for name, found in self.report["metrics"].items():
            unit, sure = found["unit"].replace("bytes", "B"), found["drop"] or found["interval"]
            roles = {
                "": [found["value"], *ends(found["interval"])],
                "median": [found.get("median")],
                "source": [found["reference"]],
                "floor": [found["floor"]],
                "drop": ends(found["drop"]),
                "ratio": ends(found["ratio"]),
                "within": [(sure["high"] - sure["low"]) / 2] if sure else [],
            }
            for role, values in roles.items():
                known = [value for value in values if value is not None]
                yield (name, role), Numbers({unit: known, "": known})

    def of_components(self) -> Iterator[tuple[tuple[str, str], Numbers]]:
        """Return the numbers of every component that is quantized."""
        for name, part in self.plan["components"].items():
            layers = [layer for layer in self.report["layers"] if layer["component"] == name]
            quantized = [layer["sqnr"] for layer in layers if layer["quantized"] and layer["sqnr"] is not None]
            others = [layer["sqnr"] for layer in layers if not layer["quantized"]]
            reasons = list(part["kept"].values())
            counts = {
                "layer": [len(quantized)],
                "other": [others.count(UNCHANGED)],
                "tensor": [part["tensors"]],
                "parameter": [part["parameters"], part["parameters_left"]],
                "module": [reasons.count(reason) for reason in reasons],
            }
            sizes = {"B": [part["source_bytes"], part["result_bytes"]]}
            yield (name, ""), Numbers(sizes, counts)
            if quantized:
                yield (name, "median"), Numbers({**sizes, "dB": [median(quantized)]}, counts)
                yield (name, "least"), Numbers({**sizes, "dB": [min(quantized)]}, counts)

    def of_pictures(self) -> Iterator[tuple[tuple[str, str], Numbers]]:
        """Return the numbers of the prompts, in quotes, that have the worst or the middle pictures of a metric."""
        found: dict[str, tuple[dict[str, list[float]], list[int]]] = {}
        for metric, finding in self.report["metrics"].items():
            read = [pair for pair in self.report["pairs"] if metric in pair["values"]]
            for pair in shown_of(read, metric, 1 if finding["direction"] == "higher" else -1):
                values, seeds = found.setdefault(in_quotes(pair["text"]), ({}, []))
                values.setdefault(finding["unit"], []).append(pair["values"][metric])
                seeds.append(pair["seed"])
        for text, (values, seeds) in found.items():
            yield (text, ""), Numbers(values, {}, {"seed": seeds})

    @cached_property
    def names(self) -> frozenset[str]:
        """What the numbers are of."""
        return frozenset(name for name, _ in self.book if name)

    @cached_property
    def texts(self) -> re.Pattern[str]:
        """Finds names and roles, and every text with a digit that may be repeated; a bare number only in quotes."""
        report = {key: value for key, value in self.report.items() if key not in {"layers", "pairs"}}
        found = [*strings(self.plan), *strings(report), *self.words, *OURS, *self.weakest]
        for side in (self.plan, report["reference"], report["candidate"]):
            found += [f"{name} {version}" for name, version in side["versions"].items()]
        found += [text.rpartition("/")[2] for text in found]
        flat = {" ".join(text.split()) for text in found if any(char.isdigit() for char in text)}
        known = {in_quotes(text) if BARE.fullmatch(text) else text for text in flat} | self.names | set(ROLES)
        ranked = sorted(known, key=lambda text: (-len(text), text))
        either = "|".join(re.escape(text).replace(r"\ ", r"\s+") for text in ranked)
        return re.compile(rf"(?<![\w.-])({either})(?![\w-]|\.\w)")

    @property
    def weakest(self) -> Iterator[str]:
        """The layer of each component that keeps least of its signal."""
        layers = [layer for layer in self.report["layers"] if layer["quantized"] and layer["sqnr"] is not None]
        for name in self.plan["components"]:
            part = [layer for layer in layers if layer["component"] == name]
            yield from [min(part, key=lambda layer: float(layer["sqnr"]))["name"]] if part else []


def shown_of(pairs: Sequence[JSON], metric: str, sign: int) -> list[JSON]:
    """Return the worst of some pairs by a metric, and the one in the middle."""
    ranked = sorted(pairs, key=lambda pair: sign * (pair["values"][metric] - pair["reference_values"].get(metric, 0.0)))
    return [ranked[0], ranked[(len(ranked) - 1) // 2]] if ranked else []


def in_quotes(text: str) -> str:
    """Return a text of others in the quotes of a card."""
    return f"“{' '.join(text.split())}”"


def ends(within: JSON | None) -> list[float]:
    """Return a number and the ends of its interval."""
    return [within["number"], within["low"], within["high"]] if within else []


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

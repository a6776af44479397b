"""Faults: what is wrong with a quantized file, each under a rule that can be looked up and silenced."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from typing import Any, ClassVar, Final, Literal

Level = Literal["error", "warning"]

MOST_TOLD: Final = 120  # characters of somebody else's word in a message

RULES: Final = {
    "file-broken": "A file's length, header, offsets and alignment agree.",
    "file-missing": "Every file that an index, a header or a name of a shard speaks of is there.",
    "index-disagrees": "Index, configuration and headers say the same.",
    "format-unclear": "A file says whose format it is in.",
    "marker-unknown": "Markers are texts that a loader can read, of formats that loaders know.",
    "marker-missing": "Every weight that a loader reads by a marker has one.",
    "scale-missing": "Every scale is there.",
    "scale-wrong": "Every scale has the dtype and the shape that its format gives it.",
    "scale-damaged": "Every scale is a finite number, none of them negative, and none zero whose values are not.",
    "scale-unequal": "Layers that servers load as one have one global scale.",
    "scale-unset": "Scales were measured: not all of them are one.",
    "tensor-missing": "Every layer that its neighbours or the base have is there.",
    "tensor-unknown": "There is no tensor that nothing reads.",
    "weight-damaged": "No weight is NaN or infinite, or all zero.",
    "weight-wrong": "Every weight has the dtype and the shape that its format gives it.",
    "layer-degenerate": "Every layer is what the base has, but for the noise of its scheme.",
    "layer-swapped": "No layer holds what another one should.",
}


@dataclass(frozen=True)
class Fault:
    """One thing that is wrong.

    Attributes:
        rule: Which of `RULES` it breaks.
        text: What is wrong, as a sentence.
        file: The file, by its path in what was looked at.
        tensor: The tensor or the weight, by its name in the file.
        remedy: What to do next, as a sentence.
        level: Whether the file is refused for it.
    """

    line: ClassVar[int] = 0  # a tensor has none
    column: ClassVar[int] = 0
    width: ClassVar[int] = 0

    rule: str
    text: str
    file: str
    tensor: str = ""
    remedy: str = ""
    level: Level = "error"

    @property
    def where(self) -> str:
        """The place as people read it."""
        return f"{self.file}: {told(self.tensor)}" if self.tensor else self.file

    @property
    def message(self) -> str:
        """Which tensor, what is wrong and what to do, in one line."""
        place = f"{told(self.tensor)}: " if self.tensor else ""
        return " ".join(part for part in (f"{place}{self.text}", self.remedy) if part)

    def __str__(self) -> str:
        """Return the fault as one paragraph."""
        return f"{self.file}: {self.message}"

    def below(self, folder: str) -> Fault:
        """Return the fault with its file as it is called from outside the folder."""
        return replace(self, file=f"{folder}/{self.file}")

    def json(self) -> dict[str, Any]:
        """Return the fault for programs."""
        return asdict(self)


def told(word: str) -> str:
    """Return somebody else's word so that it can be printed: what cannot be is spelled out, and it ends somewhere."""
    shown = "".join(sign if sign.isprintable() else repr(sign)[1:-1] for sign in word[: MOST_TOLD + 1])
    return shown if len(shown) <= MOST_TOLD else f"{shown[: MOST_TOLD - 1]}…"


def layer_of(tensor: str) -> str:
    """Return the layer that a tensor belongs to, by its name: what stands before its weight, or before its last dot."""
    before, weight, _ = tensor.partition(".weight")
    return before if weight else tensor.partition("._weight")[0] if "._weight" in tensor else tensor.rpartition(".")[0]


def together(faults: Iterable[Fault]) -> list[tuple[Fault, int]]:
    """Return the first fault of each kind and how many there are alike: of one rule and level, in one file.

    Errors come first, each kind at the place of its first one.
    """
    found: dict[tuple[str, str, str, str], list[Fault]] = {}
    for fault in faults:
        found.setdefault((fault.level, fault.rule, fault.file, fault.remedy), []).append(fault)
    return sorted(((alike[0], len(alike)) for alike in found.values()), key=lambda one: one[0].level != "error")

"""What a lint says: one result a model, and of all of them the first fault."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pipeline.errors import VerificationError
from pipeline.lint.faults import Fault, together


@dataclass(frozen=True)
class Layer:
    """One weight as it was compared with the base.

    Attributes:
        name: Of the weight.
        scheme: How it is quantized.
        sqnr: Decibels of signal over noise.
        gain: By how much its values are those of the base.
    """

    name: str
    scheme: str
    sqnr: float
    gain: float


@dataclass(frozen=True)
class Examined:
    """One model that was looked at.

    Attributes:
        name: Its file or index.
        format: The format, as the rack calls it.
        title: The format and whose it is.
        loaders: Who reads it.
        schemes: How many weights are quantized how.
        tensors: How many tensors it has.
        size: Its bytes.
        faults: What is wrong.
        layers: Its weights as compared with the base; empty where there is none.
        matched: Weights of which the base has a counterpart; unmatched: those of which it has none.
        read: Whether its weights were read, and not the headers alone.
    """

    name: str
    format: str
    title: str
    loaders: str
    schemes: dict[str, int]
    tensors: int
    size: int
    faults: tuple[Fault, ...] = ()
    layers: tuple[Layer, ...] = ()
    matched: int = 0
    unmatched: int = 0
    read: bool = False

    def json(self) -> dict[str, Any]:
        """Return it for programs."""
        own = ("name", "format", "title", "loaders", "schemes", "tensors", "size", "matched", "unmatched", "read")
        found = {name: getattr(self, name) for name in own}
        layers = [
            {"name": one.name, "scheme": one.scheme, "sqnr": round(one.sqnr, 2), "gain": round(one.gain, 4)}
            for one in self.layers
        ]
        return {**found, "faults": [fault.json() for fault in self.faults], "layers": layers}


@dataclass(frozen=True)
class Linted:
    """What was found at a place.

    Attributes:
        where: The place.
        models: What was looked at.
        faults: What is wrong with files that no model can be made of.
    """

    where: str
    models: tuple[Examined, ...]
    faults: tuple[Fault, ...] = ()

    @property
    def everything(self) -> list[Fault]:
        """All faults, in the order in which they were found."""
        return [*self.faults, *(fault for model in self.models for fault in model.faults)]

    @property
    def first(self) -> VerificationError | None:
        """The first fault for which it is refused, as an error; None where there is none."""
        errors = [fault for fault in self.everything if fault.level == "error"]
        if not errors:
            return None
        alike = next(count for fault, count in together(errors) if fault.rule == errors[0].rule)
        text = errors[0].text + (f" So are {alike - 1} more." if alike > 1 else "")
        return VerificationError(text, where=f"{self.where}/{errors[0].where}", remedy=errors[0].remedy)

    def json(self) -> dict[str, Any]:
        """Return it for programs."""
        faults = [fault.json() for fault in self.faults]
        return {"where": self.where, "models": [model.json() for model in self.models], "faults": faults}

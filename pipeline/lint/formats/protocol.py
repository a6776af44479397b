"""What a format is: whether a model is in it, which tensors belong to each weight, and what values they stand for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from math import prod
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from pipeline.lint.faults import Fault
from pipeline.lint.subject import Subject

Floats = NDArray[np.float32]
Bytes = NDArray[np.uint8]
Held = Mapping[str, NDArray[Any]]
"""The parts of a weight beside its codes, by role, as `Subject.array` gives them."""

Decode = Callable[[int, Bytes, Held], Floats]
"""Returns the values that codes stand for, in order: given the first value's place, the codes, and the other parts."""

Role = Literal["codes", "scale", "block scale", "zero", "level", "input", "state"]
Shapes = tuple[tuple[int, ...] | None, ...]


@dataclass(frozen=True)
class Part:
    """A tensor that belongs to a weight.

    Attributes:
        name: Of the tensor, in the file.
        dtypes: Those that loaders take.
        shapes: Those that loaders take; None is any.
        needed: Whether the weight is nothing without it.
        finite: Whether its values are finite, and not all of them zero.
        positive: Whether they are so and none of them is negative.
        remedy: What to do where it lacks.
        read_as: The dtype as which loaders view it; its own where it is left out.
        run: Values of the weight that share one of its scales, where the ones next to zero are looked at.
        laid: Returns its values in the order of the runs; as they lie where it is left out.
    """

    name: str
    dtypes: tuple[str, ...]
    shapes: Shapes = (None,)
    needed: bool = True
    finite: bool = False
    positive: bool = False
    remedy: str = ""
    read_as: str = ""
    run: int = 0
    laid: Callable[[NDArray[Any]], NDArray[Any]] | None = None


@dataclass(frozen=True)
class Weight:
    """One weight of a model.

    Attributes:
        name: As it is called unquantized.
        scheme: How it is quantized, as a card would say it.
        shape: Its shape once decoded.
        codes: The tensor that is read in pieces.
        parts: The tensors that belong to it, by role; the codes among them.
        decode: Returns its values; None where they are not decoded here.
        unit: Values of which a piece holds a multiple.
        fence: Values of which no piece holds both sides of a multiple; 0 where it makes no difference.
        span: The bytes of the codes that hold values from one place to another; in proportion where it is left out.
        floor: Decibels of SQNR under which no honest weight falls.
        turned: Whether its rows are the columns of what it was made of, as graphs have what they multiply with.
    """

    name: str
    scheme: str
    shape: tuple[int, ...]
    codes: str
    parts: Mapping[str, Part] = field(default_factory=dict)
    decode: Decode | None = None
    unit: int = 1
    fence: int = 0
    span: Callable[[int, int], tuple[int, int]] | None = None
    floor: float = 0.0
    turned: bool = False

    @property
    def size(self) -> int:
        """How many values it has."""
        return prod(self.shape)


@dataclass(frozen=True)
class Reading:
    """What a format makes of a model.

    Attributes:
        title: The format and whose it is, as people say it.
        weights: Its quantized weights.
        faults: What is wrong with markers and names, before any part is looked at.
        used: Further tensors that a loader reads, such as markers.
        loaders: Who reads it, and since when.
        fuses: Whether servers read it, which load layers of one input as one.
    """

    title: str
    weights: list[Weight]
    faults: list[Fault] = field(default_factory=list)
    used: frozenset[str] = frozenset()
    loaders: str = ""
    fuses: bool = False


class Format(Protocol):
    """A module of this folder."""

    def claims(self, subject: Subject) -> bool:
        """Return whether a model is in this format, by names, headers and configuration."""

    def read(self, subject: Subject) -> Reading:
        """Return its weights."""


# Decibels that the worst honest weights of trained models keep, by bits of a code, with room below: measured weights
# leave 36 dB at 8 bits with outliers, 31 in float8, 20 at 4 bits, 14 at 3 and 8 at 2.
FLOORS = {8: 20.0, 6: 18.0, 5: 14.0, 4: 10.0, 3: 6.0, 2: 2.0, 1: 0.5}
EXACT = 40.0  # what is not quantized, or cast to 16 bits

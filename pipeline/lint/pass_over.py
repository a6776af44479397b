"""One pass over the weights of a model: decoded piece by piece, told from NaN and zeros, and compared with a base.

Several weights at a time, each in pieces of a few megabytes and tiles that stay in a processor's cache; so memory does
not grow with the model.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from math import isfinite, lcm, log10, prod
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from pipeline.events import Event, Listener
from pipeline.lint.decoding import as_floats
from pipeline.lint.formats.protocol import EXACT, Floats, Held, Part, Reading, Weight
from pipeline.lint.subject import LARGEST_PART, NUMPY, Subject, Tensor
from pipeline.source.safetensors import FLOATS

if TYPE_CHECKING:
    from numpy.typing import NDArray

PIECE: Final = 4 << 20  # values that are read at a time
TILE: Final = 1 << 19  # values that are decoded at a time
AT_ONCE: Final = max(os.cpu_count() or 1, 2)
LOSSLESS: Final = 200.0  # decibels where nothing is lost


@dataclass
class Tally:
    """What was found of one weight.

    Attributes:
        weight: The weight.
        finite: Whether all of its values are finite.
        zero: Whether all of them are zero.
        noise: The squared differences from the base, summed; signal: the squared values of the base; dot: the products.
        lost: Rows of which more than half differs.
        compared: Values that were compared with the base.
        ruined: The parts that are no scales, each with the reason.
    """

    weight: Weight
    finite: bool = True
    zero: bool = True
    noise: float = 0.0
    signal: float = 0.0
    dot: float = 0.0
    lost: int = 0
    compared: int = 0
    ruined: list[tuple[str, str]] = field(default_factory=list)

    @property
    def judgeable(self) -> bool:
        """Whether it was compared, and what came of it are numbers."""
        return bool(self.compared) and self.finite and isfinite(self.noise + self.signal + abs(self.dot))

    @property
    def sqnr(self) -> float:
        """Decibels of signal over noise."""
        if not self.noise:
            return LOSSLESS
        return 10 * log10(self.signal / self.noise) if self.signal else -LOSSLESS

    @property
    def noise_share(self) -> float:
        """Noise over signal."""
        return self.noise / self.signal if self.signal else 0.0

    @property
    def gain(self) -> float:
        """By how much the values are those of the base: 1 where they are, 0 where they have nothing to do with them."""
        return self.dot / self.signal if self.signal else 0.0

    def hear(self, values: Floats) -> None:
        """Take values into account."""
        squares = float(np.dot(values, values))  # tells in one go what mostly is: neither zeros nor NaN
        self.zero = self.zero and not squares and not values.any()
        self.finite = self.finite and (isfinite(squares) or bool(np.isfinite(values).all()))

    def compare(self, values: Floats, base: Floats, columns: int) -> None:
        """Take values and those of the base into account."""
        self.dot += float(np.dot(values, base))
        error, wanted = (values - base).reshape(-1, columns), base.reshape(-1, columns)
        rows, squares = np.vecdot(error, error), np.vecdot(wanted, wanted)
        self.noise += float(rows.sum(dtype=np.float64))
        self.signal += float(squares.sum(dtype=np.float64))
        self.lost += int(np.count_nonzero((rows > 0.5 * squares) & (squares > 0)))
        self.compared += values.size


@dataclass(frozen=True)
class Counterpart:
    """The tensor of a base that a weight was made of.

    Attributes:
        base: The model.
        tensor: The tensor.
    """

    base: Subject
    tensor: Tensor

    def values(self, first: int, last: int) -> Floats:
        """Return values from one place to another."""
        content = self.base.bytes(self.tensor, self.tensor.bytes_of(first), self.tensor.bytes_of(last))
        return as_floats(np.frombuffer(content, NUMPY[self.tensor.dtype]), self.tensor.dtype)


def plain_weights(subject: Subject, reading: Reading) -> list[Weight]:
    """Return the tensors that are not quantized as weights that decode to themselves."""
    owned = {part.name for weight in reading.weights for part in weight.parts.values()} | reading.used
    return [
        plain(tensor)
        for name, tensor in subject.tensors.items()
        if name not in owned and tensor.dtype in FLOATS and tensor.size
    ]


def plain(tensor: Tensor) -> Weight:
    """Return a tensor as a weight that decodes to itself."""
    kind: Any = NUMPY[tensor.dtype]

    def decode(_first: int, codes: NDArray[np.uint8], _held: Held) -> Floats:
        return as_floats(codes.view(kind), tensor.dtype)

    parts = {"codes": Part(tensor.name, (tensor.dtype,))}
    return Weight(tensor.name, tensor.dtype, tensor.shape, tensor.name, parts, decode, floor=EXACT)


def pass_over(
    subject: Subject, weights: list[Weight], counterparts: dict[str, Counterpart], listen: Listener
) -> list[Tally]:
    """Read every weight once.

    Args:
        subject: The model.
        weights: Its weights, quantized and plain.
        counterparts: The tensors of the base, by the names of the weights that are compared with them.
        listen: Hears of progress in bytes.
    """
    ordered = sorted(weights, key=lambda weight: place_of(subject, weight))
    total = sum(subject.tensors[weight.codes].end - subject.tensors[weight.codes].begin for weight in ordered)
    done = 0
    found = []
    with ThreadPoolExecutor(AT_ONCE) as pool:
        for tally in pool.map(lambda weight: examine(subject, weight, counterparts.get(weight.name)), ordered):
            codes = subject.tensors[tally.weight.codes]
            done += codes.end - codes.begin
            listen(Event("progress", "read", subject.name, done=done, total=total, unit="B"))
            found.append(tally)
    return found


def place_of(subject: Subject, weight: Weight) -> tuple[str, int]:
    """Return where the codes of a weight lie."""
    tensor = subject.tensors[weight.codes]
    return tensor.file, tensor.begin


def examine(subject: Subject, weight: Weight, counterpart: Counterpart | None) -> Tally:
    """Read one weight."""
    with np.errstate(all="ignore"):  # what is damaged is told by what comes of it
        return read_through(subject, weight, counterpart)


def read_through(subject: Subject, weight: Weight, counterpart: Counterpart | None) -> Tally:
    """Decode one weight piece by piece, and compare it."""
    tally = Tally(weight)
    held = parts_held(subject, weight, tally)
    if weight.decode is None or tally.ruined or not weight.size:
        return tally
    shape = comparable(weight, counterpart)
    for first, values in pieces(subject, weight, held, shape[-1] if shape else 0):
        tally.hear(values)
        if counterpart and shape and tally.finite:
            compare(tally, first, values, counterpart, shape)
    return tally


def parts_held(subject: Subject, weight: Weight, tally: Tally) -> dict[str, NDArray[Any]]:
    """Return the parts of a weight beside its codes, and note those that are no scales."""
    held: dict[str, NDArray[Any]] = {}
    for role, part in weight.parts.items():
        tensor = subject.tensors.get(part.name)
        if role in {"codes", "state"} or tensor is None:
            continue
        if tensor.end - tensor.begin > LARGEST_PART:
            tally.ruined.append(
                (part.name, f"It has {tensor.end - tensor.begin} bytes, more than any scale of a weight")
            )
            continue
        held[role] = subject.array(part.name)
        scales = as_floats(held[role], part.read_as or tensor.dtype)
        if (part.finite or part.positive) and (reason := unfit(scales, positive=part.positive)):
            tally.ruined.append((part.name, reason))
    return held


def unfit(scales: Floats, *, positive: bool) -> str:
    """Return what is wrong with scales; empty where nothing is."""
    if not scales.size:
        return ""
    if not np.isfinite(scales).all():
        count = int(scales.size - np.count_nonzero(np.isfinite(scales)))
        return f"{count} of {scales.size} are NaN or infinite"
    if positive and (scales < 0).any():
        return f"{int(np.count_nonzero(scales < 0))} of {scales.size} are negative"
    return "All are zero, so the whole layer reads as zeros" if not scales.any() else ""


def comparable(weight: Weight, counterpart: Counterpart | None) -> tuple[int, int] | None:
    """Return rows and columns in which a weight and its counterpart are compared; None where their sizes differ."""
    if counterpart is None:
        return None
    shape = counterpart.tensor.shape
    columns = shape[-1] if shape else 1
    if weight.size == prod(shape) and columns:
        return weight.size // columns, columns
    padded = len(shape) == len(weight.shape) == 2 and all(
        ours - 32 < theirs <= ours for ours, theirs in zip(weight.shape, shape, strict=True)
    )
    return (weight.shape[0], weight.shape[1]) if padded else None


def pieces(subject: Subject, weight: Weight, held: Held, columns: int) -> Iterator[tuple[int, Floats]]:
    """Yield the values of a weight in order, each time the place of the first and whole rows of them.

    Args:
        subject: The model.
        weight: Its weight, which can be decoded.
        held: The weight's other parts.
        columns: How long a row is; 0 where that makes no difference.
    """
    tensor, decode = subject.tensors[weight.codes], weight.decode
    size, fence = weight.size, weight.fence or weight.size
    step = lcm(weight.unit, columns or 1)
    piece, tile = max(PIECE // step, 1) * step, max(TILE // step, 1) * step
    first = 0
    while first < size and decode is not None:
        last = min(first + piece, size, (first // fence + 1) * fence)
        begin, end = weight.span(first, last) if weight.span else span(tensor, weight, first, last)
        codes = np.frombuffer(subject.bytes(tensor, begin, end), np.uint8)
        for at in range(first, last, tile):
            until = min(at + tile, last)
            part = codes[(at - first) * codes.size // (last - first) : (until - first) * codes.size // (last - first)]
            yield at, decode(at, part, held)
        first = last


def span(tensor: Tensor, weight: Weight, first: int, last: int) -> tuple[int, int]:
    """Return the bytes of codes that hold values from one place to another."""
    size = tensor.end - tensor.begin
    return first * size // weight.size, -(-last * size // weight.size)


def compare(tally: Tally, first: int, values: Floats, counterpart: Counterpart, shape: tuple[int, int]) -> None:
    """Compare values with those of the counterpart; of a padded weight, those that it has."""
    columns, theirs = shape[-1], counterpart.tensor.shape
    if prod(shape) == counterpart.tensor.size:
        tally.compare(values, counterpart.values(first, first + values.size), columns)
        return
    row = first // columns
    rows = values.reshape(-1, columns)[: max(theirs[0] - row, 0), : theirs[1]]
    if rows.size:
        wanted = counterpart.values(row * theirs[1], (row + len(rows)) * theirs[1])
        tally.compare(np.ascontiguousarray(rows).reshape(-1), wanted, theirs[1])

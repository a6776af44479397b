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
from threading import local
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from pipeline.errors import SourceError
from pipeline.events import Event, Listener
from pipeline.lint.decoding import as_floats
from pipeline.lint.faults import told
from pipeline.lint.formats.protocol import EXACT, Floats, Held, Part, Reading, Weight
from pipeline.lint.subject import LARGEST_PART, NUMPY, Subject, Tensor
from pipeline.source.disk import Forward, memory
from pipeline.source.safetensors import FLOATS

if TYPE_CHECKING:
    from numpy.typing import NDArray

PIECE: Final = 4 << 20  # values that are read at a time
TILE: Final = 1 << 19  # values that are decoded at a time
AT_ONCE: Final = 2 * (os.cpu_count() or 1)  # weights: of every two, one waits for the disk or the Hub
SLIGHT: Final = 1e-4  # of the squares that a row has on average, below which nobody misses a row
LOSSLESS: Final = 200.0  # decibels where nothing is lost
FAINT: Final = 1e-3  # of the scales of a weight on average, below which nothing is left of a run
BLOCK: Final = Forward.room(4 * PIECE)  # bytes of a piece of float32
NO_BLOCK: Final = memoryview(b"")


class Blocks(local):
    """Memory of each thread that pieces are read into, past the page cache."""

    def __init__(self) -> None:
        self.codes, self.base = memory(BLOCK), memory(BLOCK)


@dataclass
class Tally:
    """What was found of one weight.

    Attributes:
        weight: The weight.
        finite: Whether all of its values are finite.
        zero: Whether all of them are zero.
        noise: The squared differences from the base, summed; signal: the squared values of the base; dot: the products.
        power: Its squared values, summed.
        rows: Rows that were compared with the base.
        lost: Those of which more than half differs; lost_signal: the squared values that the base has there, summed.
        ruined: The parts that are no scales, each with the reason.
        faint: Whether scales of runs are next to zero, as those of runs of zeros are.
    """

    weight: Weight
    finite: bool = True
    zero: bool = True
    noise: float = 0.0
    signal: float = 0.0
    dot: float = 0.0
    rows: int = 0
    lost: int = 0
    lost_signal: float = 0.0
    power: float = 0.0
    ruined: list[tuple[str, str]] = field(default_factory=list)
    faint: bool = False

    @property
    def judgeable(self) -> bool:
        """Whether it was compared, what came of it are numbers, and it is not zero on both sides."""
        apart = self.noise + self.signal
        return bool(self.rows) and apart > 0 and self.finite and isfinite(apart + abs(self.dot))

    @property
    def hollow(self) -> bool:
        """Whether rows are lost that the base needs: not those of dead neurons, which schemes round to zero."""
        return bool(self.lost) and self.lost_signal / self.lost > SLIGHT * self.signal / self.rows

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
        from pipeline.kernels.comparing import power_of

        self._told(values, power_of(values))

    def compare(self, values: Floats, base: NDArray[Any], columns: int) -> None:
        """Take whole rows of values and those of the base into account."""
        from pipeline.kernels.comparing import compare_rows
        from pipeline.kernels.formats import as_bits

        sums = np.zeros(6)
        compare_rows(values, as_bits(base), columns, sums)
        self._told(values, float(sums[3]))
        self.noise += float(sums[0])
        self.signal += float(sums[1])
        self.dot += float(sums[2])
        self.rows += values.size // columns
        self.lost += int(sums[4])
        self.lost_signal += float(sums[5])

    def _told(self, values: Floats, power: float) -> None:
        """Take values into account whose sum of squares mostly tells that they are neither zeros nor NaN."""
        self.power += power
        self.zero = self.zero and not power and not values.any()
        self.finite = self.finite and (isfinite(power) or bool(np.isfinite(values).all()))


@dataclass(frozen=True)
class Counterpart:
    """The tensor of a base that a weight was made of.

    Attributes:
        base: The model.
        tensor: The tensor.
    """

    base: Subject
    tensor: Tensor

    def stored(self, first: int, last: int, block: memoryview = NO_BLOCK) -> NDArray[Any]:
        """Return values from one place to another, read into a block: bfloat16 as its bits, and none of 64 bits.

        Raises:
            SourceError: The file ends before.
        """
        content = self.base.large(self.tensor, self.tensor.bytes_of(first), self.tensor.bytes_of(last), block)
        found = np.frombuffer(content, NUMPY[self.tensor.dtype])
        if found.size < last - first:
            text = f"{told(self.tensor.file)} has become shorter while it was read."
            raise SourceError(text, where=self.base.name, remedy="Run the same command again.")
        if found.dtype == np.float64:
            found = found.astype(np.float32)
        found.flags.writeable = False  # a kernel is compiled once more for arrays that can be written
        return found

    def values(self, first: int, last: int) -> Floats:
        """Return values from one place to another."""
        return widened(self.stored(first, last))


def widened(stored: NDArray[Any]) -> Floats:
    """Return floats as float32: bfloat16 comes as its bits."""
    from pipeline.kernels.formats import as_bits
    from pipeline.kernels.gguf_plain import widen_all

    if stored.dtype.itemsize > 2:
        return stored.astype(np.float32)
    values = np.empty(stored.size, np.float32)
    widen_all(as_bits(stored), values)
    return values


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
        return widened(codes.view(kind))

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
    found, blocks = [], Blocks()
    with ThreadPoolExecutor(AT_ONCE) as pool:
        for tally in pool.map(lambda weight: examine(subject, weight, counterparts.get(weight.name), blocks), ordered):
            codes = subject.tensors[tally.weight.codes]
            done += codes.end - codes.begin
            listen(Event("progress", "read", subject.name, done=done, total=total, unit="B"))
            found.append(tally)
    return found


def place_of(subject: Subject, weight: Weight) -> tuple[str, int]:
    """Return where the codes of a weight lie."""
    tensor = subject.tensors[weight.codes]
    return tensor.file, tensor.begin


def examine(subject: Subject, weight: Weight, counterpart: Counterpart | None, blocks: Blocks) -> Tally:
    """Read one weight."""
    with np.errstate(all="ignore"):  # what is damaged is told by what comes of it
        return read_through(subject, weight, counterpart, blocks)


def read_through(subject: Subject, weight: Weight, counterpart: Counterpart | None, blocks: Blocks) -> Tally:
    """Decode one weight piece by piece, and compare it."""
    tally = Tally(weight)
    held = parts_held(subject, weight, tally)
    if weight.decode is None or tally.ruined or not weight.size:
        return tally
    shape = comparable(weight, counterpart)
    for first, last in spans(weight, shape[-1] if shape else 0):
        base = beside(counterpart, first, last, shape, blocks.base) if counterpart and shape else None
        for at, values in decoded(subject, weight, held, (first, last), shape[-1] if shape else 0, blocks.codes):
            if base is None or not shape or not tally.finite:
                tally.hear(values)
            else:
                tally.compare(values, base[at - first : at - first + values.size], shape[-1])
    return tally


def beside(
    counterpart: Counterpart, first: int, last: int, shape: tuple[int, int], block: memoryview = NO_BLOCK
) -> NDArray[Any]:
    """Return what a counterpart has beside values of a weight in whole rows; of a padded weight, zeros beside the rest.

    Args:
        counterpart: The tensor of the base.
        first: The place of the first value in the weight.
        last: The place behind the last one.
        shape: Of the weight.
        block: Memory to read into.
    """
    if prod(shape) == counterpart.tensor.size:
        return counterpart.stored(first, last, block)
    columns, theirs = shape[-1], counterpart.tensor.shape
    row, count = first // columns, (last - first) // columns
    there = counterpart.stored(min(row, theirs[0]) * theirs[1], min(row + count, theirs[0]) * theirs[1], block)
    padded = np.zeros((count, columns), there.dtype)
    padded[: there.size // theirs[1], : theirs[1]] = there.reshape(-1, theirs[1])
    padded.flags.writeable = False
    return padded.reshape(-1)


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
        tally.faint = tally.faint or bool(part.run and near_zero(scales).any())
    return held


def near_zero(scales: Floats) -> NDArray[np.bool_]:
    """Return which scales are next to zero beside their like."""
    sizes = np.abs(scales)
    faint: NDArray[np.bool_] = sizes < FAINT * sizes.mean(dtype=np.float64)
    return faint


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
        ours - 32 < theirs <= ours and bool(theirs) == bool(ours)
        for ours, theirs in zip(weight.shape, shape, strict=True)
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
    for first, last in spans(weight, columns):
        yield from decoded(subject, weight, held, (first, last), columns)


def spans(weight: Weight, columns: int) -> Iterator[tuple[int, int]]:
    """Yield from where to where a weight is read at a time."""
    most, fence, first = wholes(PIECE, weight, columns), weight.fence or weight.size, 0
    while first < weight.size:
        last = min(first + most, weight.size, (first // fence + 1) * fence)
        yield first, last
        first = last


def wholes(most: int, weight: Weight, columns: int) -> int:
    """Return about so many values, in whole units of a weight and whole rows."""
    step = lcm(weight.unit, columns or 1)
    return max(most // step, 1) * step


def decoded(
    subject: Subject,
    weight: Weight,
    held: Held,
    run: tuple[int, int],
    columns: int,
    block: memoryview = NO_BLOCK,
) -> Iterator[tuple[int, Floats]]:
    """Yield values of a weight from one place to another, in tiles of whole rows."""
    first, last = run
    tensor, decode = subject.tensors[weight.codes], weight.decode
    begin, end = weight.span(first, last) if weight.span else span(tensor, weight, first, last)
    codes = np.frombuffer(subject.large(tensor, begin, end, block), np.uint8)
    codes.flags.writeable = False
    tile = wholes(TILE, weight, columns)
    if decode is None:
        return
    for at in range(first, last, tile):
        until = min(at + tile, last)
        part = codes[(at - first) * codes.size // (last - first) : (until - first) * codes.size // (last - first)]
        yield at, decode(at, part, held)


def span(tensor: Tensor, weight: Weight, first: int, last: int) -> tuple[int, int]:
    """Return the bytes of codes that hold values from one place to another."""
    size = tensor.end - tensor.begin
    return first * size // weight.size, -(-last * size // weight.size)

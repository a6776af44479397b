"""bitsandbytes' double quantization: absmax values less their mean, in 8-bit codes in blocks of 256.

The arithmetic follows ``quantize_blockwise`` of bitsandbytes 0.50.2 for the CPU, which finds codes in a table of 65,536
entries, and ``Tensor.mean`` of torch 2.13 on one thread, which adds in an order of its own.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from pipeline.kernels.compiling import inner, kernel
from pipeline.kernels.formats import add, magnitude, of_magnitude
from pipeline.kernels.levels import SMALLEST, Floats, dynamic_levels

if TYPE_CHECKING:
    from numpy.typing import NDArray

BLOCK = 256  # absmax values that share one of their own
FINEST = np.float32(65535)  # the last entry of the table
DENORMAL = np.float32(2.0**-149)  # the smallest of float32
REGISTER = 8  # float32 values that torch adds at once, even where there are larger registers
LANES = 4 * REGISTER  # it fills four of them
LEVELS = 4  # of partial sums; each takes over the one below after as many additions, so that rounding stays small


class Nested(NamedTuple):
    """What becomes of absmax values.

    Attributes:
        codes: One for each.
        absmax: One for each block of them.
        offset: Their mean.
        noise: The squared error that this adds to the weight's.
    """

    codes: NDArray[np.uint8]
    absmax: Floats
    offset: float
    noise: float


def quantize_nested(absmax: Floats, moments: Floats) -> Nested:
    """Quantize absmax values.

    Args:
        absmax: The absmax of the weight's blocks.
        moments: What `pipeline.kernels.codebook.search_block` says of each of these.
    """
    total = cascade_sum(absmax, ceil_log2(absmax.size // LANES))
    offset = np.float32(total) / np.float32(absmax.size)
    codes = np.empty(absmax.size, np.uint8)
    nested = np.empty(-(-absmax.size // BLOCK), np.float32)
    noise = encode_nested(absmax, moments, offset, dynamic(), nested, codes)
    return Nested(codes, nested, float(offset), noise)


def ceil_log2(size: int) -> int:
    """Return the bits of the next power of two; 0 of 0."""
    return max(size - 1, 0).bit_length()


class Dynamic(NamedTuple):
    """The dynamic type.

    Attributes:
        levels: What its 256 codes stand for, ascending.
        table: The code of each of 65,536 values evenly spaced between -1 and 1.
    """

    levels: Floats
    table: NDArray[np.uint8]


@cache
def dynamic() -> Dynamic:
    """Return the dynamic type with the table that bitsandbytes makes of it."""
    levels = dynamic_levels()
    bounds = (levels[:-1] + levels[1:]) * np.float32(0.5)
    places = np.arange(65536, dtype=np.float32)
    table = np.searchsorted(bounds, (places + places) / FINEST - np.float32(1)).astype(np.uint8)
    return Dynamic(levels, table)


@kernel
def encode_nested(
    absmax: Floats, moments: Floats, offset: np.float32, dynamic: Dynamic, nested: Floats, codes: NDArray[np.uint8]
) -> float:
    """Encode absmax values less their mean; a block of zeros has the code 0, which is not the code of zero.

    Returns:
        The squared error that this adds to the weight's.
    """
    noise = 0.0
    deviations, places = np.empty(BLOCK, np.float32), np.empty(BLOCK, np.int32)
    for block in range(nested.size):
        first = block * BLOCK
        count = min(BLOCK, absmax.size - first)
        largest = np.int32(0)
        for place in range(count):
            deviations[place] = absmax[first + place] - offset
            largest = max(largest, magnitude(deviations[place]))
        nested[block] = of_magnitude(largest, absmax[0])
        inverse = np.float32(1) / nested[block]
        for place in range(count):
            position = (np.float32(1) + clamped(deviations[place] * inverse)) * np.float32(0.5)
            # One rounding, as of a fused multiply and add: float64 holds the product and the sum exactly.
            rounded = np.float32(np.float64(position) * np.float64(FINEST) + 0.5)
            # Not a number where the block's absmax is zero or has no finite inverse.
            places[place] = np.int32(np.float32(0) if np.isnan(rounded) else rounded)
        for place in range(count):
            code = dynamic.table[places[place]]
            codes[first + place] = code
            deviations[place] = dynamic.levels[code] * nested[block] + offset - absmax[first + place]
        for place in range(count):
            unit = max(absmax[first + place], SMALLEST)
            added = np.float64(deviations[place]) * np.float64(unit / max(absmax[first + place], DENORMAL))
            mixed, power = moments[first + place]
            noise = add(noise, added * (added * power - 2 * np.float64(unit) * mixed))
    return noise


@inner
def clamped(value: np.float32) -> np.float32:
    """Return a value of at most one, of either sign; NaN stays."""
    return np.float32(-1) if value < -1 else np.float32(1) if value > 1 else value


@kernel
def cascade_sum(values: Floats, power: int) -> np.float32:
    """Return the sum of float32 values as torch's ``sum`` rounds it on one thread.

    See ``cascade_sum`` in torch's ``aten/src/ATen/native/cpu/SumKernel.cpp``.

    Args:
        values: One-dimensional.
        power: The logarithm of the number of registers that are added, rounded up.
    """
    if values.size < REGISTER:
        return sum_of_few(values)
    sums = np.zeros((LEVELS, LANES), np.float32)
    step = max(4, power // LEVELS)
    size = values.size // LANES
    whole = size >> step << step
    for place in range(size):
        for lane in range(LANES):
            sums[0, lane] += values[place * LANES + lane]
        added = place + 1
        level = 1
        while added <= whole and level < LEVELS and added & ((1 << level * step) - 1) == 0:
            for lane in range(LANES):
                sums[level, lane] += sums[level - 1, lane]
                sums[level - 1, lane] = 0
            level += 1
    for level in range(1, LEVELS):
        for lane in range(LANES):
            sums[0, lane] += sums[level, lane]
    return sum_of_lanes(sums[0], values[size * LANES :])


@inner
def sum_of_few(values: Floats) -> np.float32:
    """Return the sum of less than a register: four sums begin with one value each, the first takes the others."""
    total: np.float32 = values[0]
    for place in range(4, values.size):
        total += values[place]
    for place in range(1, min(4, values.size)):
        total += values[place]
    return total


@inner
def sum_of_lanes(lanes: Floats, left: Floats) -> np.float32:
    """Return the sum of four registers and of values that did not fill them."""
    end = 0
    while end + REGISTER <= left.size:
        for lane in range(REGISTER):
            lanes[lane] += left[end + lane]
        end += REGISTER
    for lane in range(REGISTER, LANES):
        lanes[lane % REGISTER] += lanes[lane]
    total = np.float32(0)
    for place in range(end, left.size):
        total += left[place]
    for lane in range(REGISTER):
        total += lanes[lane]
    return total

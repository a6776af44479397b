"""Weights of 4 or 2 bits in groups: with a scale and a shift as optimum-quanto makes them, or compressed-tensors' int4.

The arithmetic follows ``MaxOptimizer``, ``quantize_affine`` and ``pack_weights`` of optimum-quanto 0.2.7, and
``calculate_qparams``, ``quantize`` and ``pack_to_int32`` of compressed-tensors 0.20.1, on the CPU: in the weight's own
dtype, rounded after each operation.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.kernels.compiling import inner, kernel
from pipeline.kernels.formats import add_square, narrow, nearest, of_ordered, ordered, widen
from pipeline.kernels.rows import absmax_of, add_lost

Values = NDArray[Any]
Packed = NDArray[np.uint8]
Sums = NDArray[np.float64]

TILE = 64  # groups whose range is found before any of them is encoded, so that neither loop waits for the other
REGISTERS = 4  # that torch's amin and amax fill at once, of 32 bytes each
ZERO, INFINITE = np.float32(0), np.float32(np.inf)
INT4 = (np.float32(-8), np.float32(7))
STEPS = np.float32(7.5)  # compressed-tensors halves the 15 steps between them
NOT_A_NUMBER = np.uint16(0xFFFF)  # as torch makes bfloat16 of it, the only format in which it comes here


@kernel
def pack_groups(
    values: Values, steps: tuple[np.float32, np.float32], midpoint: bool, statistics: Values, packed: Packed, sums: Sums
) -> None:
    """Quantize groups into bits of bytes that have these bits zero.

    Args:
        values: A matrix with one group a row, see `pipeline.kernels.formats`.
        steps: The largest code, and what a code counts in its byte.
        midpoint: Whether shifts go through `midpoint_of`.
        statistics: Two rows, filled here with the scales and shifts, in the format of the values.
        packed: One byte for each value; their codes are added to it.
        sums: Squared errors and squared values, added to here.
    """
    like = values[0, 0]
    smallest = np.empty(TILE, np.float32)
    # Counted from zero in steps of one: so the compiler knows that no index is negative, and loops vectorize.
    for tile in range(-(-values.shape[0] // TILE)):
        tiled = min(TILE, values.shape[0] - tile * TILE)
        for number in range(tiled):
            group = tile * TILE + number
            smallest[number], largest = range_of(values[group])
            statistics[0, group] = narrow(widen(narrow(largest - smallest[number], like)) / steps[0], like)
            scale = widen(statistics[0, group])
            shift = midpoint_of(smallest[number], scale, like) if midpoint else -smallest[number]
            statistics[1, group] = narrow(shift, like) if not np.isnan(shift) else NOT_A_NUMBER
        for number in range(tiled):
            group = tile * TILE + number
            kept = widen(statistics[0, group]), widen(statistics[1, group])
            if kept[0] == INFINITE or np.float32(1) / kept[0] == INFINITE:
                encode_degenerate(values[group], smallest[number], kept, steps, packed[group], sums)
            else:
                encode_group(values[group], smallest[number], kept, steps, packed[group], sums)


@inner
def range_of(group: Values) -> tuple[np.float32, np.float32]:
    """Return the smallest and the largest value of a group."""
    low = high = ordered(group[0])
    for place in range(group.size):
        low = min(low, ordered(group[place]))
        high = max(high, ordered(group[place]))
    smallest: np.float32 = of_ordered(low)
    largest: np.float32 = of_ordered(high)
    # Zeros of both signs are equal: torch takes one of them, whose sign the shift shows.
    return zero_of(group) if smallest == 0 else smallest, zero_of(group) if largest == 0 else largest


@inner
def zero_of(group: Values) -> np.float32:
    """Return the zero that torch's amin and amax take, where zero is the smallest or the largest value of a group.

    They keep the later of two equal values where they work in vectors, the earlier one elsewhere.
    """
    zero = ZERO
    lanes = 32 // group.itemsize
    chunk = REGISTERS * lanes
    chunks = group.size // chunk
    for place in range(group.size - 1, chunks * chunk - 1, -1):
        value = widen(group[place])
        zero = value if value == 0 else zero
    for lane in range(lanes - 1, -1, -1):
        for register in range(REGISTERS):
            for number in range(chunks):
                value = widen(group[number * chunk + register * lanes + lane])
                zero = value if value == 0 else zero
    return zero


@inner
def midpoint_of(smallest: np.float32, scale: np.float32, like: Any) -> np.float32:
    """Return a shift as it is after torch's int4 kernel for the CPU, which keeps the middle of the range instead.

    quanto computes the shift from it when it saves (``TinyGemmWeightQBitsTensor``), and loses bits on the way.
    """
    half = widen(narrow(np.float32(8) * scale, like))
    middle = widen(narrow(smallest + half, like))
    shift: np.float32 = half - middle
    return shift


@inner
def encode_group(
    group: Values,
    smallest: np.float32,
    kept: tuple[np.float32, np.float32],
    steps: tuple[np.float32, np.float32],
    packed: Packed,
    sums: Sums,
) -> None:
    """Encode the distances of values from the smallest one; ``kept`` are scale and shift."""
    like, scale = group[0], kept[0]
    inverse = np.float32(1) / scale
    lost = (kept[1] + smallest) * inverse
    noise = signal = ZERO
    for place in range(group.size):
        value = widen(group[place])
        quotient = widen(narrow(widen(narrow(value - smallest, like)) / scale, like))
        code = min(max(nearest(quotient), ZERO), steps[0])
        packed[place] |= np.uint8(code * steps[1])
        noise = add_square(noise, (value - smallest) * inverse - code + lost)
        signal = add_square(signal, value * inverse)
    unit = np.float64(scale) * np.float64(scale)
    sums[0] += noise * unit
    sums[1] += signal * unit


@inner
def encode_degenerate(
    group: Values,
    smallest: np.float32,
    kept: tuple[np.float32, np.float32],
    steps: tuple[np.float32, np.float32],
    packed: Packed,
    sums: Sums,
) -> None:
    """Encode a group whose values are all equal, or whose range is too small or too large for the format."""
    like, scale = group[0], kept[0]
    for place in range(group.size):
        value = widen(group[place])
        quotient = widen(narrow(widen(narrow(value - smallest, like)) / scale, like))
        code = nearest(min(max(quotient, ZERO), steps[0])) if not np.isnan(quotient) else ZERO  # 0 / 0 becomes 0
        packed[place] |= np.uint8(code * steps[1])
        error = np.float64(value) - (np.float64(code) * np.float64(scale) - np.float64(kept[1]))
        sums[0] += error * error
        sums[1] += np.float64(value) * np.float64(value)


@kernel
def pack_symmetric(values: Values, least: np.float32, scales: Values, packed: Packed, sums: Sums) -> None:
    """Quantize groups into int4 without a shift.

    Args:
        values: A matrix with one group a row, see `pipeline.kernels.formats`; a group is a multiple of two.
        least: What stands for a scale of zero.
        scales: One a group, in the format of the values; filled here.
        packed: Two values a byte, the first in the low bits, each more by eight; filled here.
        sums: Squared errors and squared values, added to here.
    """
    like = values[0, 0]
    codes = np.empty(values.shape[1], np.uint8)
    for group in range(values.shape[0]):
        absmax = absmax_of(values[group])
        scale = widen(narrow(absmax / STEPS, like))
        scale = scale if scale > 0 else least
        scales[group] = narrow(scale, like)
        noise = signal = ZERO
        for place in range(values.shape[1]):
            scaled = widen(values[group, place]) / scale
            code = nearest(min(max(widen(narrow(scaled, like)), INT4[0]), INT4[1]))
            codes[place] = np.uint8(code - INT4[0])
            noise = add_square(noise, scaled - code)
            signal = add_square(signal, scaled)
        for place in range(packed.shape[1]):
            packed[group, place] = codes[2 * place] | codes[2 * place + 1] << 4
        if absmax <= scale * np.float32(0.5):  # all codes are zero, and the squares may be too small for float32
            add_lost(values[group], sums)
            continue
        unit = np.float64(scale) * np.float64(scale)
        sums[0] += noise * unit
        sums[1] += signal * unit


@kernel
def unpack_symmetric(packed: Packed, scales: NDArray[np.float32], values: NDArray[np.float32]) -> None:
    """Fill a matrix of one group a row with what its codes and its scale stand for."""
    for group in range(packed.shape[0]):
        for place in range(packed.shape[1]):
            code = packed[group, place]
            values[group, 2 * place] = (np.float32(code & 15) + INT4[0]) * scales[group]
            values[group, 2 * place + 1] = (np.float32(code >> 4) + INT4[0]) * scales[group]

"""How a block of 256 codes lies in bytes: in planes of 1, 2 or 4 bits of each code; and what a block lost."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pipeline.kernels.compiling import inner
from pipeline.kernels.formats import magnitude, of_magnitude
from pipeline.kernels.lanes import LANES, absolute, add_weighted, highest, load, splat, store, where

Floats = NDArray[np.float32]
Blocks = NDArray[np.uint8]
Codes = NDArray[np.uint8]
Sums = NDArray[np.float64]

BLOCK = 256
ZERO = np.float32(0)


@inner
def pack_plane(codes: Codes, shift: int, width: int, distance: int, blocks: Blocks, at: int) -> int:
    """Write some bits of each code; return where the bytes end.

    Args:
        codes: One a byte.
        shift: The lowest of the bits.
        width: How many they are.
        distance: How far codes are from each other that share a byte.
        blocks: Where the bytes go.
        at: The first of them.
    """
    together, mask = 8 // width, (1 << width) - 1
    for part in range(BLOCK // together // LANES):
        place = part * LANES
        first = place // distance * distance * together + place % distance
        packed = splat(0)
        for number in range(together):
            packed = packed | ((load(codes, first + number * distance) >> shift) & mask) << number * width
        store(blocks, at + place, packed)
    return at + BLOCK // together


@inner
def unpack_plane(blocks: Blocks, at: int, codes: Codes, shift: int, width: int, distance: int) -> int:
    """Add to codes the bits that `pack_plane` wrote; return where their bytes end."""
    together, mask = 8 // width, (1 << width) - 1
    for part in range(BLOCK // together // LANES):
        place = part * LANES
        first = place // distance * distance * together + place % distance
        packed = load(blocks, at + place)
        for number in range(together):
            code = first + number * distance
            store(codes, code, load(codes, code) | ((packed >> number * width) & mask) << shift)
    return at + BLOCK // together


@inner
def add_errors(values: Floats, decoded: Floats, sums: Sums) -> None:
    """Add what values lost, and the values, to sums; in a unit in which no square of them over- or underflows."""
    sizes = splat(ZERO)
    for part in range(values.size // LANES):
        size = absolute(load(values, part * LANES))
        sizes = where(size > sizes, size, sizes)
    largest = highest(sizes)
    power = of_magnitude(max(0x7F000000 - (magnitude(largest) & 0x7F800000), 0x00800000), largest)
    noise = signal = splat(ZERO)
    for part in range(values.size // LANES):
        value = load(values, part * LANES)
        error, scaled = (value - load(decoded, part * LANES)) * power, value * power
        noise, signal = noise + error * error, signal + scaled * scaled
    weight = 1 / (np.float64(power) * np.float64(power))
    add_weighted(sums, 0, noise, weight)
    add_weighted(sums, 8, signal, weight)

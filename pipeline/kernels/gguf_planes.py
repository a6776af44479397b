"""How a block of 256 codes lies in bytes: in planes of 1, 2 or 4 bits of each code."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pipeline.kernels.compiling import inner
from pipeline.kernels.lanes import LANES, load, splat, store

Blocks = NDArray[np.uint8]
Codes = NDArray[np.uint8]

BLOCK = 256


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

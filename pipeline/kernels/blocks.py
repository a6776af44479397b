"""bitsandbytes' 4-bit codes: blocks of 64 values that share their absmax.

The arithmetic follows the CPU's ``quantize_4bit`` of bitsandbytes 0.50.2.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.kernels.codebook import BLOCK, search_block
from pipeline.kernels.compiling import kernel
from pipeline.kernels.formats import as_bits, magnitude, of_magnitude, widen
from pipeline.kernels.levels import Codebook, Floats

Values = NDArray[Any]
Codes = NDArray[np.uint8]
Sums = NDArray[np.float64]

TILE = 64  # blocks whose absmax is found before any of them is encoded, so that neither loop waits for the other
SMALLEST = np.float32(1e-38)  # what bitsandbytes divides by instead of anything smaller


def pack_blocks(values: Values, book: Codebook, absmax: Floats, codes: Codes) -> tuple[float, float]:
    """Encode blocks, the last of which may be ragged.

    Args:
        values: bfloat16 as its bits, float16 or float32.
        book: The levels.
        absmax: One for each block, filled here.
        codes: One byte for two codes, the first one in the high bits; filled here.

    Returns:
        The sum of the squared errors, and that of the squared values.
    """
    bits, sums = as_bits(values), np.zeros(16)
    whole = bits.size // BLOCK
    place = whole * BLOCK
    if whole:
        encode_blocks(bits[:place], book.tables, book.symbols, absmax, codes, sums)
    if place < bits.size:
        rest = codes[place // 2 :]
        encode_ragged(bits[place:], book.tables, book.symbols, absmax[whole:], rest, sums)
    return float(sums[:8].sum()), float(sums[8:].sum())


@kernel
def encode_blocks(values: Values, tables: Floats, symbols: np.uint64, absmax: Floats, codes: Codes, sums: Sums) -> None:
    """Encode whole blocks; the arguments after the values are those of `search_block`."""
    scaled = np.empty(BLOCK, np.float32)
    whole = values.size // BLOCK
    # Counted from zero in steps of one: so the compiler knows that no index is negative, and loops vectorize.
    for tile in range(-(-whole // TILE)):
        tiled = min(TILE, whole - tile * TILE)
        for number in range(tiled):
            block = tile * TILE + number
            largest = np.int32(0)
            for place in range(BLOCK):
                largest = max(largest, magnitude(values[block * BLOCK + place]))
            absmax[block] = of_magnitude(largest, values[0])
        for number in range(tiled):
            block = tile * TILE + number
            unit = max(absmax[block], SMALLEST)
            inverse = np.float32(1) / unit
            for place in range(BLOCK):
                scaled[place] = widen(values[block * BLOCK + place]) * inverse
            shrink, weight = absmax[block] / unit, np.float64(unit) * np.float64(unit)
            search_block(scaled, tables, symbols, shrink, weight, codes, block * (BLOCK // 2), sums)


@kernel
def encode_ragged(values: Values, tables: Floats, symbols: np.uint64, absmax: Floats, codes: Codes, sums: Sums) -> None:
    """Encode a block of fewer than 64 values, which is divided by its absmax, and whose absmax stays raised."""
    scaled = np.zeros(BLOCK, np.float32)
    packed = np.empty(BLOCK // 2, np.uint8)
    largest = np.int32(0)
    for place in range(values.size):
        largest = max(largest, magnitude(values[place]))
    unit = max(of_magnitude(largest, values[0]), SMALLEST)
    absmax[0] = unit
    for place in range(values.size):
        scaled[place] = widen(values[place]) / unit
    weight = np.float64(unit) * np.float64(unit)
    search_block(scaled, tables, symbols, np.float32(1), weight, packed, 0, sums)
    for place in range(codes.size):
        codes[place] = packed[place]

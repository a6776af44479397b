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
from pipeline.kernels.levels import SMALLEST, Codebook, Floats

Values = NDArray[Any]
Codes = NDArray[np.uint8]
Sums = NDArray[np.float64]

TILE = 64  # blocks whose absmax is found before any of them is encoded, so that neither loop waits for the other


def pack_blocks(values: Values, book: Codebook, absmax: Floats, moments: Floats | None, codes: Codes) -> Sums:
    """Encode blocks, the last of which may be ragged.

    Args:
        values: bfloat16 as its bits, float16 or float32.
        book: The levels.
        absmax: One for each block, filled here.
        moments: What tells the error of another absmax, see `search_block`; filled here unless it is None.
        codes: One byte for two codes, the first one in the high bits; filled here.

    Returns:
        The sum of the squared errors, and that of the squared values.
    """
    bits, sums = as_bits(values), np.zeros(16)
    whole = bits.size // BLOCK
    place = whole * BLOCK
    if whole:
        encode_blocks(bits[:place], book, absmax, moments, codes, sums)
    if place < bits.size:
        rest = None if moments is None else moments[whole:]
        encode_ragged(bits[place:], book, absmax[whole:], rest, codes[place // 2 :], sums)
    totals: Sums = sums.reshape(2, 8).sum(axis=1)
    return totals


@kernel
def encode_blocks(
    values: Values, book: Codebook, absmax: Floats, moments: Floats | None, codes: Codes, sums: Sums
) -> None:
    """Encode whole blocks; the arguments after the values are those of `pack_blocks` and `search_block`."""
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
            search_block(scaled, book.tables, book.symbols, shrink, weight, block, codes, moments, sums)


@kernel
def encode_ragged(
    values: Values, book: Codebook, absmax: Floats, moments: Floats | None, codes: Codes, sums: Sums
) -> None:
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
    search_block(scaled, book.tables, book.symbols, np.float32(1), weight, 0, packed, moments, sums)
    for place in range(codes.size):
        codes[place] = packed[place]

"""Weights of float8 (e4m3) as comfy-kitchen makes them: with one scale a tensor, or MXFP8 with powers of two.

The arithmetic is that of comfy-kitchen 0.2.40 ``quantize_per_tensor_fp8`` and ``quantize_mxfp8`` of float32 values, on
the CPU.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from pipeline.kernels.compiling import inner, kernel
from pipeline.kernels.formats import (
    add_square,
    float8_code,
    magnitude,
    of_magnitude,
    round_to_float8,
    widen,
)
from pipeline.kernels.levels import FLOAT8_LEVELS
from pipeline.kernels.rows import FLOAT8, PART, Sums, Values, encode_beyond

if TYPE_CHECKING:
    from numpy.typing import NDArray

BLOCK = 32
TILE = 64  # blocks whose scales are found before any of them is encoded, so that neither loop waits for the other
BIAS = 127  # of the exponent that is the scale of a block of MXFP8
LEAST = np.float32(2.0**-BIAS)
ZERO, ONE = np.float32(0), np.float32(1)


@kernel
def pack_float8(values: Values, scale: np.float32, codes: NDArray[np.uint8], sums: Sums) -> None:
    """Encode the products of values, one-dimensional, and the inverse of a scale."""
    inverse, unit = ONE / scale, np.float64(scale)
    if np.isinf(inverse):
        encode_beyond(values, unit, codes, sums)
        return
    for part in range(-(-values.size // PART)):
        count = min(PART, values.size - part * PART)
        encode_products(values[part * PART : part * PART + count], inverse, unit, codes[part * PART :], sums)


@kernel
def pack_mxfp8(values: Values, scales: NDArray[np.uint8], codes: NDArray[np.uint8], sums: Sums) -> None:
    """Encode blocks of values, one-dimensional; ``scales``, one a block, are exponents of two and `BIAS`."""
    largest = np.empty(TILE, np.float32)
    for tile in range(-(-scales.size // TILE)):
        tiled = min(TILE, scales.size - tile * TILE)
        for number in range(tiled):
            block = tile * TILE + number
            top = np.int32(0)
            for place in range(BLOCK):
                top = max(top, magnitude(values[block * BLOCK + place]))
            largest[number] = of_magnitude(top, values[0])
        for number in range(tiled):
            block = tile * TILE + number
            begin = block * BLOCK
            if largest[number] == 0:
                scales[block] = 0
                codes[begin : begin + BLOCK] = 0
                continue
            # To float32, as torch has it: so the power of two may be the one just below.
            power = np.ceil(np.float32(np.log2(np.float64(max(largest[number] / FLOAT8, LEAST)))))
            scales[block] = np.uint8(power + BIAS)
            if scales[block] == 0:  # reads as zero
                encode_beyond(values[begin : begin + BLOCK], 0.0, codes[begin : begin + BLOCK], sums)
                continue
            unit = 2.0 ** np.float64(power)
            encode_products(
                values[begin : begin + BLOCK], np.float32(1 / unit), unit, codes[begin : begin + BLOCK], sums
            )


@inner
def encode_products(values: Values, inverse: np.float32, unit: float, codes: NDArray[np.uint8], sums: Sums) -> None:
    """Encode the products of few values and the inverse of a scale, ``unit``."""
    noise = signal = ZERO
    for place in range(values.size):
        scaled = widen(values[place]) * inverse
        rounded = round_to_float8(min(max(scaled, -FLOAT8), FLOAT8))
        codes[place] = float8_code(rounded)
        noise = add_square(noise, scaled - rounded)
        signal = add_square(signal, scaled)
    sums[0] += noise * unit * unit
    sums[1] += signal * unit * unit


@kernel
def unpack_float8(codes: NDArray[np.uint8], scales: NDArray[np.float32], values: NDArray[np.float32]) -> None:
    """Fill a matrix with what its codes and the scales of its rows stand for."""
    for row in range(codes.shape[0]):
        for place in range(codes.shape[1]):
            values[row, place] = FLOAT8_LEVELS[codes[row, place]] * scales[row]


@kernel
def unpack_mxfp8(codes: NDArray[np.uint8], scales: NDArray[np.uint8], values: NDArray[np.float32]) -> None:
    """Fill values, one-dimensional, with what blocks stand for; the arguments are those of `pack_mxfp8`."""
    for block in range(scales.size):
        unit = np.float32(2.0 ** (np.float64(scales[block]) - BIAS)) if scales[block] else ZERO
        for place in range(block * BLOCK, block * BLOCK + BLOCK):
            values[place] = FLOAT8_LEVELS[codes[place]] * unit

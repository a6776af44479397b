"""NVFP4: floats of 4 bits (e2m1) in blocks of 16 that share a float8 (e4m3) scale, and one float32 scale a tensor.

Three libraries mean three things by the name. comfy-kitchen 0.2.40 ``quantize_nvfp4`` puts the first of two values into
the high bits of a byte and keeps the sign of zeros; diffusers 0.42.1 ``quantize_nvfp4`` (``quantizers.bfl``), whose
layout is NVIDIA ModelOpt's, puts it into the low bits. So does compressed-tensors 0.20.1 (``calculate_qparams``,
``NVFP4PackedCompressor``), whose tensor has the inverse of a scale, and no block a scale of zero. The arithmetic is
theirs, in float32, on the CPU.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from pipeline.kernels.compiling import kernel
from pipeline.kernels.formats import (
    add_square,
    float4_code,
    float8_code,
    magnitude,
    of_magnitude,
    round_to_float4,
    round_to_float8,
    widen,
)
from pipeline.kernels.levels import FLOAT8_LEVELS
from pipeline.kernels.rows import FLOAT8, NOT_A_NUMBER, Sums, Values, sum_of_squares

if TYPE_CHECKING:
    from numpy.typing import NDArray

COMFY, BFL, COMPRESSED = range(3)
BLOCK = 16
TILE = 64  # blocks whose scales are found before any of them is encoded, so that neither loop waits for the other
FLOAT4 = np.float32(6)
LEAST = np.float32(0.125)  # compressed-tensors' scale of a block instead of zero
LOST = np.float32(1e-3)  # below this sum of squared quotients all codes are zero
ZERO = np.float32(0)
LEVELS = np.array([0, 0.5, 1, 1.5, 2, 3, 4, 6, -0.0, -0.5, -1, -1.5, -2, -3, -4, -6], np.float32)  # of e2m1
KEPT, DROPPED = np.float32(-0.0), np.float32(0.0)  # added to a quotient, keeps or drops the sign of a zero


@kernel
def pack_fours(
    values: Values,
    scale: np.float32,
    whose: int,
    scales: NDArray[np.uint8],
    codes: NDArray[np.uint8],
    sums: Sums,
) -> None:
    """Encode blocks.

    Args:
        values: One-dimensional, see `pipeline.kernels.formats`.
        scale: That of the tensor, or its inverse.
        whose: `COMFY`, `BFL` or `COMPRESSED`: what to do as.
        scales: One e4m3 a block, filled here.
        codes: Two values a byte, filled here.
        sums: Squared errors and squared values, added to here.
    """
    units, rounded = np.empty(TILE, np.float32), np.empty(BLOCK, np.uint8)
    high_first, inverse = whose == COMFY, whose == COMPRESSED
    signs = KEPT if high_first else DROPPED
    blocks = scales.size
    for tile in range(-(-blocks // TILE)):
        tiled = min(TILE, blocks - tile * TILE)
        for number in range(tiled):
            block = tile * TILE + number
            largest = np.int32(0)
            for place in range(BLOCK):
                largest = max(largest, magnitude(values[block * BLOCK + place]))
            units[number] = of_magnitude(largest, values[0])
        for number in range(tiled):
            wanted = units[number] / FLOAT4 * scale if inverse else units[number] / FLOAT4 / scale
            kept = round_to_float8(min(wanted, FLOAT8))
            if inverse and kept == 0:
                kept = LEAST
            lost = np.isnan(wanted)  # a block of zeros in a tensor whose scale is zero
            scales[tile * TILE + number] = NOT_A_NUMBER if lost else float8_code(kept)
            units[number] = wanted if lost else kept / scale if inverse else kept * scale
        for number in range(tiled):
            block, unit = tile * TILE + number, units[number]
            if not unit > 0:
                for place in range(BLOCK // 2):
                    codes[block * (BLOCK // 2) + place] = 0
                squares = sum_of_squares(values[block * BLOCK : block * BLOCK + BLOCK])
                sums[0] += squares + np.float64(unit)
                sums[1] += squares
                continue
            noise = signal = ZERO
            for place in range(BLOCK):
                scaled = widen(values[block * BLOCK + place]) / unit + signs
                near = round_to_float4(min(max(scaled, -FLOAT4), FLOAT4))
                rounded[place] = float4_code(near)
                noise = add_square(noise, scaled - near)
                signal = add_square(signal, scaled)
            if signal < LOST:  # and the squares may be too small for float32
                squares = sum_of_squares(values[block * BLOCK : block * BLOCK + BLOCK])
                sums[0] += squares
                sums[1] += squares
            else:
                weight = np.float64(unit) * np.float64(unit)
                sums[0] += noise * weight
                sums[1] += signal * weight
            for place in range(BLOCK // 2):
                first, second = rounded[2 * place], rounded[2 * place + 1]
                code = first << 4 | second if high_first else second << 4 | first
                codes[block * (BLOCK // 2) + place] = code


@kernel
def unpack_fours(
    codes: NDArray[np.uint8],
    scales: NDArray[np.uint8],
    scale: np.float32,
    high_first: bool,
    values: NDArray[np.float32],
) -> None:
    """Fill values, one-dimensional, with what blocks stand for; ``high_first`` as comfy-kitchen has it."""
    for block in range(scales.size):
        unit = FLOAT8_LEVELS[scales[block]] * scale
        for place in range(BLOCK // 2):
            code = codes[block * (BLOCK // 2) + place]
            high, low = LEVELS[code >> 4] * unit, LEVELS[code & 15] * unit
            first, second = (high, low) if high_first else (low, high)
            values[block * BLOCK + 2 * place] = first
            values[block * BLOCK + 2 * place + 1] = second

"""GGUF's blocks of weights whose codes of 4 bits stand for uneven levels: IQ4_NL and IQ4_XS.

The arithmetic follows ``quantize_row_iq4_nl_impl`` and ``dequantize_row_iq4_*`` of ggml (llama.cpp 0.5.0), on every
finite input. Arguments are those of `pipeline.kernels.gguf_plain`.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pipeline.kernels.compiling import inner, kernel
from pipeline.kernels.gguf_errors import add_errors
from pipeline.kernels.gguf_search import LEVELS, Floats, fit_levels, lay_beside, length_of, nearest_levels
from pipeline.kernels.lanes import LANES, clamped, load, load_half, look_up, nearest_integer, store, store_half

Blocks = NDArray[np.uint8]
Sums = NDArray[np.float64]

RUN, NL_SIZE = 32, 18
BLOCK, XS_SIZE = 256, 136
ZERO, ONE = np.float32(0), np.float32(1)


@kernel
def encode_iq4_nl(values: Floats, blocks: Blocks, sums: Sums) -> None:
    """Encode blocks of 32 values in 18 bytes: a scale, and 4 bits a value."""
    tile, scales, decoded = np.empty(RUN * LANES, np.float32), np.empty(LANES, np.float32), np.empty(RUN, np.float32)
    run = length_of(RUN, values)
    whole = values.size // RUN
    for begin in range(-(-whole // LANES)):
        lay_beside(values[begin * LANES * RUN :], run, tile)
        store(scales, 0, fit_levels(tile, run))
        for number in range(min(LANES, whole - begin * LANES)):
            place = (begin * LANES + number) * RUN
            of_block, block = (
                values[place : place + RUN],
                blocks[place // RUN * NL_SIZE : place // RUN * NL_SIZE + NL_SIZE],
            )
            scale = scales[number]
            step = store_half(block, 0, scale)
            encode_run(of_block, inverse_of(scale), step, block, 2, decoded)
            add_errors(of_block, decoded, sums)


@kernel
def encode_iq4_xs(values: Floats, blocks: Blocks, sums: Sums) -> None:
    """Encode blocks of 256 values in 136 bytes: 4 bits a value, 6 bits a scale of 32 of them."""
    tile, scales = np.empty(RUN * LANES, np.float32), np.zeros(2 * LANES, np.float32)
    decoded, levels = np.empty(BLOCK, np.float32), np.empty(LANES, np.uint8)
    whole, runs, length = values.size // BLOCK, BLOCK // RUN, length_of(RUN, values)
    for number in range(whole):
        if number % 2 == 0:
            lay_beside(values[number * BLOCK :], length, tile)
            store(scales, 0, fit_levels(tile, length))
        of_block, block = (
            values[number * BLOCK : (number + 1) * BLOCK],
            blocks[number * XS_SIZE : (number + 1) * XS_SIZE],
        )
        found = scales[number % 2 * runs :]
        largest = ZERO
        for run in range(runs):
            largest = found[run] if abs(found[run]) > abs(largest) else largest
        scale = -largest / np.float32(32)
        step, inverse = store_half(block, 0, scale), inverse_of(scale)
        store(levels, 0, clamped(nearest_integer(load(found, 0) * inverse), -32, 31) + 32)
        store_six_bits(levels, block)
        for run in range(runs):
            level = np.float32(levels[run]) - np.float32(32)
            part = slice(run * RUN, (run + 1) * RUN)
            encode_run(
                of_block[part], inverse_of(scale * level), step * level, block, 8 + run * RUN // 2, decoded[part]
            )
        add_errors(of_block, decoded, sums)


@inner
def encode_run(values: Floats, inverse: np.float32, scale: np.float32, block: Blocks, at: int, decoded: Floats) -> None:
    """Encode 32 values that are multiplied with an inverse, and decode them by a scale."""
    level, first = nearest_levels(load(values, 0) * inverse)
    store(decoded, 0, level * scale)
    level, second = nearest_levels(load(values, LANES) * inverse)
    store(decoded, LANES, level * scale)
    store(block, at, first | second << 4)


@inner
def inverse_of(scale: np.float32) -> np.float32:
    """Return what values are multiplied with; 0 for 0."""
    return ONE / scale if scale != 0 else ZERO


@inner
def store_six_bits(levels: Blocks, block: Blocks) -> None:
    """Write eight levels of 6 bits into six bytes, behind the block's scale: two high bits of each, then the rest."""
    for number in range(2):
        first, second = levels[4 * number], levels[4 * number + 1]
        third, fourth = levels[4 * number + 2], levels[4 * number + 3]
        block[2 + number] = first >> 4 | second >> 4 << 2 | third >> 4 << 4 | fourth >> 4 << 6
        block[4 + 2 * number] = first & 15 | second << 4
        block[5 + 2 * number] = third & 15 | fourth << 4


@kernel
def decode_iq4_nl(blocks: Blocks, values: Floats) -> None:
    """Decode blocks of IQ4_NL."""
    for number in range(values.size // RUN):
        at = number * NL_SIZE
        decode_run(blocks, at + 2, load_half(blocks, at), values[number * RUN : (number + 1) * RUN])


@kernel
def decode_iq4_xs(blocks: Blocks, values: Floats) -> None:
    """Decode blocks of IQ4_XS."""
    runs = BLOCK // RUN
    for number in range(values.size // RUN):
        at, run = number // runs * XS_SIZE, number % runs
        low = blocks[at + 4 + run // 2] >> (run % 2 * 4) & 15
        level = low | (blocks[at + 2 + run // 4] >> (run % 4 * 2) & 3) << 4
        scale = load_half(blocks, at) * (np.float32(level) - np.float32(32))
        decode_run(blocks, at + 8 + run * RUN // 2, scale, values[number * RUN : (number + 1) * RUN])


@inner
def decode_run(blocks: Blocks, at: int, scale: np.float32, values: Floats) -> None:
    """Decode 32 values."""
    packed = load(blocks, at)
    store(values, 0, look_up(LEVELS, packed & 15) * scale)
    store(values, LANES, look_up(LEVELS, packed >> 4) * scale)

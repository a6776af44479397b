"""GGUF's blocks of 256 weights in runs that have a scale and a minimum each: Q2_K, Q4_K, Q5_K.

The arithmetic follows ``quantize_row_*_ref`` and ``dequantize_row_*`` of ggml (llama.cpp 0.5.0), on every finite input.
Arguments are those of `pipeline.kernels.gguf_plain`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.kernels.compiling import inner, kernel
from pipeline.kernels.gguf_errors import add_errors
from pipeline.kernels.gguf_planes import pack_plane, unpack_plane
from pipeline.kernels.gguf_search import Floats, fit_steps, lay_beside, weigh
from pipeline.kernels.lanes import (
    LANES,
    clamped,
    floats,
    load,
    load_half,
    nearest_integer,
    splat,
    store,
    store_half,
)

Blocks = NDArray[np.uint8]
Sums = NDArray[np.float64]

BLOCK = 256
FOUND, ROOM = 4, 2 * LANES  # what is found of runs; more than the runs of a tile, so that sixteen follow each of them
ZERO = np.float32(0)


@kernel
def encode_steps(values: Floats, bits: int, blocks: Blocks, sums: Sums) -> None:
    """Encode blocks of Q2_K, Q4_K or Q5_K, of so many bits a value."""
    run = 16 if bits == 2 else 32
    runs, top, size = BLOCK // run, (1 << bits) - 1, size_of(bits)
    room = np.empty((3, run * LANES), np.float32)
    tile, weights, codes = room[0], room[1], room[2]
    found, kept, packed = np.zeros(FOUND * ROOM, np.float32), np.empty(2 * LANES, np.float32), np.empty(BLOCK, np.uint8)
    tries = (top, np.float32(-1 if bits == 4 else -0.5), 20 if bits == 4 else 15)
    decoded = np.empty(BLOCK, np.float32)
    whole = values.size // BLOCK
    together = LANES // runs
    for begin in range(-(-whole // together)):
        first = begin * together
        lay_beside(values[first * BLOCK :], run, tile)
        weigh(tile, run, bits != 2, weights)
        scale, low, inverse, base = fit_steps(tile, weights, codes, run, tries, bits == 2)
        store(found, 0, scale)
        store(found, ROOM, splat(ZERO) - low)
        store(found, 2 * ROOM, inverse)
        store(found, 3 * ROOM, base)
        for block in range(first, min(first + together, whole)):
            of_block = found[(block - first) * runs :]
            begins = block * size
            steps, lows = encode_levels(of_block, bits, packed, blocks[begins : begins + size])
            store(kept, 0, steps)
            store(kept, LANES, lows)
            of_values = values[block * BLOCK : (block + 1) * BLOCK]
            encode_codes(of_values, (run, top), of_block, kept, packed, decoded)
            add_errors(of_values, decoded, sums)
            end = pack_plane(packed, 4, 1, 32, blocks, begins + 16) if bits == 5 else begins + 16
            pack_plane(packed, 0, 2 if bits == 2 else 4, 32, blocks, end)


@inner
def encode_levels(found: Floats, bits: int, room: Blocks, block: Blocks) -> tuple[Any, Any]:
    """Write the scales and the minima of a block's runs as multiples of their largest; return what they are then."""
    scales, minima = load(found, 0), load(found, ROOM)
    top = np.float32(15 if bits == 2 else 63)
    largest, deepest = ZERO, ZERO
    for number in range(16 if bits == 2 else 8):
        largest = found[number] if found[number] > largest else largest
        deepest = found[ROOM + number] if found[ROOM + number] > deepest else deepest
    levels = nearest_integer(scales * (top / largest if largest > 0 else ZERO)) & 255
    depths = nearest_integer(minima * (top / deepest if deepest > 0 else ZERO)) & 255
    if bits == 2:
        store(block, 0, levels | depths << 4)
        levels, depths = load(block, 0) & 15, load(block, 0) >> 4
        ends = 80
    else:
        levels, depths = clamped(levels, 0, 63), clamped(depths, 0, 63)
        store(room, 0, levels)
        store(room, LANES, depths)
        store_six_bits(room, block)
        ends = 0
    step, depth = store_half(block, ends, largest / top), store_half(block, ends + 2, deepest / top)
    return floats(levels) * step, floats(depths) * depth


@inner
def store_six_bits(both: Blocks, block: Blocks) -> None:
    """Write eight levels and eight depths of 6 bits into twelve bytes, behind the block's own two scales."""
    for number in range(4):
        level, depth = both[4 + number], both[LANES + 4 + number]
        block[4 + number] = both[number] | (level >> 4) << 6
        block[8 + number] = both[LANES + number] | (depth >> 4) << 6
        block[12 + number] = (level & 15) | depth << 4


@inner
def load_six_bits(block: Blocks, both: Blocks) -> tuple[Any, Any]:
    """Return the levels and the depths that `store_six_bits` wrote, by way of an array."""
    for number in range(4):
        first, second, third = block[4 + number], block[8 + number], block[12 + number]
        both[number], both[LANES + number] = first & 63, second & 63
        both[4 + number] = (third & 15) | (first >> 6) << 4
        both[LANES + 4 + number] = third >> 4 | (second >> 6) << 4
    return load(both, 0), load(both, LANES)


@inner
def encode_codes(
    values: Floats, sizes: tuple[int, int], found: Floats, kept: Floats, codes: Blocks, decoded: Floats
) -> None:
    """Find the codes of a block by what is kept of its runs' scales and minima, else by what was found.

    Args:
        values: The block.
        sizes: How many values a run has, and the largest code.
        found: What the search found of each run.
        kept: Scales and minima.
        codes: The result, one a byte.
        decoded: What they stand for, filled in as well.
    """
    run, top = sizes
    for part in range(BLOCK // LANES):
        value, number = load(values, part * LANES), part * LANES // run
        step, low = kept[number], kept[LANES + number]
        if step == 0:  # the codes of the search stay
            code = nearest_integer((value - found[3 * ROOM + number]) * found[2 * ROOM + number])
        else:
            code = nearest_integer((value + low) / step)
        code = clamped(code, 0, top)
        store(codes, part * LANES, code)
        store(decoded, part * LANES, floats(code) * step - low)


@kernel
def decode_steps(blocks: Blocks, bits: int, values: Floats) -> None:
    """Decode blocks of Q2_K, Q4_K or Q5_K."""
    size, run = size_of(bits), 16 if bits == 2 else 32
    codes, both = np.empty(BLOCK, np.uint8), np.empty(2 * LANES, np.float32)
    for number in range(values.size // BLOCK):
        block = blocks[number * size : (number + 1) * size]
        ends = 80 if bits == 2 else 0
        if bits == 2:
            levels, depths = load(block, 0) & 15, load(block, 0) >> 4
        else:
            levels, depths = load_six_bits(block, codes)
        store(both, 0, floats(levels) * load_half(block, ends))
        store(both, LANES, floats(depths) * load_half(block, ends + 2))
        codes[:] = 0
        end = unpack_plane(block, 16, codes, 4, 1, 32) if bits == 5 else 16
        unpack_plane(block, end, codes, 0, 2 if bits == 2 else 4, 32)
        for part in range(BLOCK // LANES):
            of_run = part * LANES // run
            value = floats(load(codes, part * LANES)) * both[of_run] - both[LANES + of_run]
            store(values, number * BLOCK + part * LANES, value)


@inner
def size_of(bits: int) -> int:
    """Return the bytes of a block."""
    return 84 if bits == 2 else 16 + bits * 32

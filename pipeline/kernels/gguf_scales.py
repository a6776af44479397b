"""GGUF's blocks of 256 weights in runs of 16 with a scale each: Q3_K and Q6_K.

The arithmetic follows ``quantize_row_*_ref`` and ``dequantize_row_*`` of ggml (llama.cpp 0.5.0), on every finite input.
Arguments are those of `pipeline.kernels.gguf_plain`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.kernels.compiling import inner, kernel
from pipeline.kernels.gguf_errors import add_errors
from pipeline.kernels.gguf_moves import fit_by_moves, room_for
from pipeline.kernels.gguf_planes import pack_plane, unpack_plane
from pipeline.kernels.gguf_search import LEAST, Floats, fit_scale, lay_beside, length_of
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
    where,
)

Blocks = NDArray[np.uint8]
Sums = NDArray[np.float64]

BLOCK, RUN = 256, 16
Q3_SIZE, Q6_SIZE = 110, 210
TOGETHER = 8  # blocks of Q3_K whose runs are searched together
ZERO = np.float32(0)


@kernel
def encode_q6_k(values: Floats, blocks: Blocks, sums: Sums) -> None:
    """Encode blocks of 210 bytes: 6 bits a value, 8 bits a scale."""
    tile, weights = np.empty(BLOCK, np.float32), np.empty(2 * BLOCK, np.float32)
    codes, decoded = np.empty(BLOCK, np.uint8), np.empty(BLOCK, np.float32)
    scales, inverses = np.empty(RUN, np.float32), np.empty(RUN, np.float32)
    length = length_of(RUN, values)
    for number in range(values.size // BLOCK):
        of_block, block = (
            values[number * BLOCK : (number + 1) * BLOCK],
            blocks[number * Q6_SIZE : (number + 1) * Q6_SIZE],
        )
        lay_beside(of_block, length, tile)
        scale, inverse = fit_scale(tile, weights, length, 32)
        store(scales, 0, scale)
        store(inverses, 0, inverse)
        largest = largest_scale(scales)
        if abs(largest) < LEAST:
            block[:] = 0
            decoded[:] = 0
            add_errors(of_block, decoded, sums)
            continue
        factor = np.float32(-128) / largest
        step = store_half(block, 208, np.float32(1) / factor)
        levels = clamped(nearest_integer(scale * factor), -1 << 22, 127)
        store(block, 192, levels)
        store(scales, 0, floats(load(block[192:208].view(np.int8), 0)) * step)
        for run in range(RUN):
            code = codes_of(load(of_block, run * RUN), scales[run], inverses[run], 32)
            store(decoded, run * RUN, floats(code) * scales[run])
            store(codes, run * RUN, code + 32)
        add_errors(of_block, decoded, sums)
        end = pack_plane(codes, 0, 4, 64, block, 0)
        pack_plane(codes, 4, 2, 32, block, end)


@inner
def largest_scale(scales: Floats) -> np.float32:
    """Return the scale that is largest without its sign, the first of several."""
    largest = ZERO
    for run in range(RUN):
        largest = scales[run] if abs(scales[run]) > abs(largest) else largest
    return largest


@inner
def codes_of(values: Any, scale: np.float32, inverse: np.float32, middle: int) -> Any:
    """Return the codes of a run by its scale, or by what the search multiplied with where that has become zero."""
    if scale == 0 and inverse == 0:  # ggml leaves a run of zeros at its lowest code
        return splat(-middle)
    return clamped(nearest_integer(values / scale if scale != 0 else values * inverse), -middle, middle - 1)


@kernel
def decode_q6_k(blocks: Blocks, values: Floats) -> None:
    """Decode blocks of Q6_K."""
    codes, scales = np.empty(BLOCK, np.uint8), np.empty(RUN, np.float32)
    for number in range(values.size // BLOCK):
        block = blocks[number * Q6_SIZE : (number + 1) * Q6_SIZE]
        codes[:] = 0
        end = unpack_plane(block, 0, codes, 0, 4, 64)
        unpack_plane(block, end, codes, 4, 2, 32)
        store(scales, 0, floats(load(block[192:208].view(np.int8), 0)) * load_half(block, 208))
        for run in range(RUN):
            value = floats(load(codes, run * RUN) - 32) * scales[run]
            store(values, number * BLOCK + run * RUN, value)


@kernel
def encode_q3_k(values: Floats, blocks: Blocks, sums: Sums) -> None:
    """Encode blocks of 110 bytes: 3 bits a value, 6 bits a scale."""
    runs = room_for(TOGETHER)
    codes, decoded = np.empty(BLOCK, np.uint8), np.empty(BLOCK, np.float32)
    scales, length, whole = np.empty(RUN, np.float32), length_of(RUN, values), values.size // BLOCK
    for begin in range(-(-whole // TOGETHER)):
        first = begin * TOGETHER
        tiles = min(TOGETHER, whole - first)
        tiles += tiles % 2
        for tile in range(tiles):
            lay_beside(values[(first + tile) * BLOCK :], length, runs.values[tile * BLOCK :])
        fit_by_moves(runs, tiles, length, 4)
        for tile in range(min(TOGETHER, whole - first)):
            number = first + tile
            of_block = values[number * BLOCK : (number + 1) * BLOCK]
            block = blocks[number * Q3_SIZE : (number + 1) * Q3_SIZE]
            products, squares = load(runs.products, tile * LANES), load(runs.squares, tile * LANES)
            store(scales, 0, where(squares > ZERO, products / squares, splat(ZERO)))
            encode_q3_scales(scales, codes, block)
            encode_q3_codes(of_block, scales, (runs.codes, runs.places[tile * RUN :]), codes, decoded)
            add_errors(of_block, decoded, sums)
            end = pack_plane(codes, 2, 1, 32, block, 0)
            pack_plane(codes, 0, 2, 32, block, end)


@inner
def encode_q3_scales(scales: Floats, room: Blocks, block: Blocks) -> None:
    """Write the scales of a block's runs as multiples of the largest, and leave in their place what they are then."""
    largest = largest_scale(scales)
    factor = np.float32(-32) / largest if largest != 0 else ZERO
    step = store_half(block, 108, np.float32(1) / factor if largest != 0 else ZERO)
    levels = clamped(nearest_integer(load(scales, 0) * factor), -32, 31)
    if largest == 0:
        levels = splat(-32)  # bytes of zero
    store(room, 0, levels + 32)
    store_six_bits(room, block)
    store(scales, 0, floats(levels) * step)


@inner
def encode_q3_codes(
    values: Floats, scales: Floats, found: tuple[Floats, NDArray[np.int32]], codes: Blocks, decoded: Floats
) -> None:
    """Find the codes of a block by the scales that are kept; those that were found stay where that has become zero."""
    all_found, places = found
    for run in range(RUN):
        if scales[run] != 0:
            code = clamped(nearest_integer(load(values, run * RUN) / scales[run]), -4, 3)
        else:
            for place in range(RUN):
                codes[run * RUN + place] = np.uint8(all_found[places[run] + place * LANES] + np.float32(4))
            code = load(codes, run * RUN) - 4
        store(codes, run * RUN, code + 4)
        store(decoded, run * RUN, floats(code) * scales[run])


@inner
def store_six_bits(each: Blocks, block: Blocks) -> None:
    """Write sixteen levels of 6 bits into twelve bytes, before the block's own scale."""
    for number in range(8):
        block[96 + number] = (each[number] & 15) | (each[8 + number] & 15) << 4
    for number in range(4):
        packed = each[number] >> 4 | (each[4 + number] >> 4) << 2
        block[104 + number] = packed | (each[8 + number] >> 4) << 4 | (each[12 + number] >> 4) << 6


@inner
def load_six_bits(block: Blocks, each: Blocks) -> Any:
    """Return the levels that `store_six_bits` wrote, by way of an array."""
    for number in range(RUN):
        low = block[96 + number % 8] >> (number // 8 * 4) & 15
        each[number] = low | (block[104 + number % 4] >> (number // 4 * 2) & 3) << 4
    return load(each, 0)


@kernel
def decode_q3_k(blocks: Blocks, values: Floats) -> None:
    """Decode blocks of Q3_K."""
    codes, scales = np.empty(BLOCK, np.uint8), np.empty(RUN, np.float32)
    for number in range(values.size // BLOCK):
        block = blocks[number * Q3_SIZE : (number + 1) * Q3_SIZE]
        store(scales, 0, floats(load_six_bits(block, codes) - 32) * load_half(block, 108))
        codes[:] = 0
        end = unpack_plane(block, 0, codes, 2, 1, 32)
        unpack_plane(block, end, codes, 0, 2, 32)
        for run in range(RUN):
            store(values, number * BLOCK + run * RUN, floats(load(codes, run * RUN) - 4) * scales[run])

"""GGUF's blocks of 32 weights with one scale, and for some a minimum: Q4_0, Q4_1, Q5_0, Q5_1, Q8_0; and BF16.

The arithmetic follows ``quantize_row_*_ref`` and ``dequantize_row_*`` of ggml (llama.cpp 0.5.0), on every finite input.

Values are float32, one-dimensional, in whole blocks; blocks are bytes; ``sums`` as in `pipeline.kernels.gguf_errors`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.kernels.compiling import inner, kernel
from pipeline.kernels.formats import add, narrow, widen
from pipeline.kernels.gguf_errors import add_errors_of_two
from pipeline.kernels.lanes import (
    LANES,
    absolute,
    any_of,
    away_from_zero,
    clamped,
    floats,
    highest,
    larger,
    load,
    load_bits,
    load_half,
    lowest,
    smaller,
    splat,
    store,
    store_bits,
    store_half,
    truncated,
    where,
)

Floats = NDArray[np.float32]
Blocks = NDArray[np.uint8]
Sums = NDArray[np.float64]

BLOCK = 32
BFLOAT16 = np.uint16(0)  # stands for its format
ZERO, ONE, INFINITE = np.float32(0), np.float32(1), np.float32(np.inf)


@kernel
def widen_all(values: NDArray[Any], wide: Floats) -> None:
    """Fill in the float32 of values of any format, see `pipeline.kernels.formats`."""
    for place in range(values.size):
        wide[place] = widen(values[place])


@kernel
def encode_bf16(values: Floats, blocks: Blocks, sums: Sums) -> None:
    """Round values to bfloat16."""
    rounded = blocks.view(np.uint16)
    noise = signal = 0.0
    for place in range(values.size):
        rounded[place] = narrow(values[place], BFLOAT16)
        value = np.float64(values[place])
        error = value - np.float64(widen(rounded[place]))
        noise, signal = add(noise, error * error), add(signal, value * value)
    sums[0] += noise
    sums[4] += signal


@kernel
def decode_bf16(blocks: Blocks, values: Floats) -> None:
    """Widen bfloat16 to float32."""
    rounded = blocks.view(np.uint16)
    for place in range(values.size):
        values[place] = widen(rounded[place])


@kernel
def encode_q8_0(values: Floats, blocks: Blocks, sums: Sums) -> None:
    """Encode blocks of 34 bytes: a scale, and a code of 8 bits a value."""
    for block in range(values.size // BLOCK):
        first, second = load(values, block * BLOCK), load(values, block * BLOCK + LANES)
        largest = highest(larger(absolute(first), absolute(second)))
        scale = largest / np.float32(127)
        inverse = inverse_of(scale)
        if inverse == INFINITE:
            inverse = ZERO  # ggml multiplies by infinity, and no such product is a code
        codes = away_from_zero(first * inverse), away_from_zero(second * inverse)
        place = block * (2 + BLOCK)
        kept = store_half(blocks, place, scale)
        store(blocks, place + 2, codes[0])
        store(blocks, place + 2 + LANES, codes[1])
        add_errors_of_two((first, second), (floats(codes[0]) * kept, floats(codes[1]) * kept), largest, sums)


@kernel
def decode_q8_0(blocks: Blocks, values: Floats) -> None:
    """Decode blocks of Q8_0."""
    codes = blocks.view(np.int8)
    for block in range(values.size // BLOCK):
        scale = load_half(blocks, block * (2 + BLOCK))
        for part in range(2):
            place = block * (2 + BLOCK) + 2 + part * LANES
            store(values, block * BLOCK + part * LANES, floats(load(codes, place)) * scale)


@kernel
def encode_signed(values: Floats, bits: int, blocks: Blocks, sums: Sums) -> None:
    """Encode blocks of Q4_0 or Q5_0, of so many bits a value: the largest value has the code 0, and zero the middle."""
    middle, whole = np.float32(1 << bits - 1), values.size // BLOCK
    lows, highs, largest, scales, inverses, offsets = np.zeros((6, LANES), np.float32)
    # Scales of many blocks before any codes, so that no block waits for its own, and all are found at once.
    for tile in range(-(-whole // LANES)):
        tiled = min(LANES, whole - tile * LANES)
        for number in range(tiled):
            place = (tile * LANES + number) * BLOCK
            first, second = load(values, place), load(values, place + LANES)
            lows[number], highs[number] = lowest(smaller(first, second)), highest(larger(first, second))
        low, high = load(lows, 0), load(highs, 0)
        size = larger(high, splat(ZERO) - low)
        store(largest, 0, where(size > ZERO, where(high == size, high, low), splat(ZERO)))
        if any_of((low == splat(ZERO) - high) & (high > ZERO)):  # the first of the two counts
            for number in range(tiled):
                place = (tile * LANES + number) * BLOCK
                if largest[number] != ZERO:
                    largest[number] = first_of_size(values[place : place + BLOCK], abs(largest[number]))
        scale = load(largest, 0) / -middle
        inverse = where(scale == ZERO, splat(ZERO), ONE / scale)
        lost = absolute(inverse) == INFINITE  # ggml multiplies by infinity, and no such product is a code
        store(scales, 0, scale)
        store(inverses, 0, where(lost, splat(ZERO), inverse))
        store(offsets, 0, where(lost, splat(ZERO), splat(middle + np.float32(0.5))))
        for number in range(tiled):
            block = tile * LANES + number
            first, second = load(values, block * BLOCK), load(values, block * BLOCK + LANES)
            inverse_of_block, offset = inverses[number], offsets[number]
            codes = truncated(first * inverse_of_block + offset), truncated(second * inverse_of_block + offset)
            codes = clamped(codes[0], 0, (1 << bits) - 1), clamped(codes[1], 0, (1 << bits) - 1)
            place = block * (2 + size_of_codes(bits))
            kept = store_half(blocks, place, scales[number])
            store_codes(codes[0], codes[1], bits, place + 2, blocks)
            decoded = (floats(codes[0]) - middle) * kept, (floats(codes[1]) - middle) * kept
            add_errors_of_two((first, second), decoded, largest[number], sums)


@kernel
def encode_shifted(values: Floats, bits: int, blocks: Blocks, sums: Sums) -> None:
    """Encode blocks of Q4_1 or Q5_1, of so many bits a value: steps above the smallest one."""
    steps = np.float32((1 << bits) - 1)
    for block in range(values.size // BLOCK):
        first, second = load(values, block * BLOCK), load(values, block * BLOCK + LANES)
        high, low = highest(larger(first, second)), lowest(smaller(first, second))
        if low == 0:
            low = first_of_size(values[block * BLOCK : (block + 1) * BLOCK], ZERO)  # its sign is that of the minimum
            high = high if high > 0 else low
        scale = (high - low) / steps
        inverse = inverse_of(scale)
        above = first - low, second - low
        if INFINITE in (inverse, scale):  # ggml's products are infinite or not a number, and no codes
            above = splat(ZERO), splat(ZERO)
            inverse = ZERO
        half = np.float32(0.5)
        codes = truncated(above[0] * inverse + half), truncated(above[1] * inverse + half)
        codes = clamped(codes[0], 0, (1 << bits) - 1), clamped(codes[1], 0, (1 << bits) - 1)
        place = block * (4 + size_of_codes(bits))
        kept, base = store_half(blocks, place, scale), store_half(blocks, place + 2, low)
        store_codes(codes[0], codes[1], bits, place + 4, blocks)
        decoded = floats(codes[0]) * kept + base, floats(codes[1]) * kept + base
        add_errors_of_two((first, second), decoded, max(abs(high), abs(low)), sums)


@kernel
def decode_signed(blocks: Blocks, bits: int, values: Floats) -> None:
    """Decode blocks of Q4_0 or Q5_0."""
    middle = np.float32(1 << bits - 1)
    for block in range(values.size // BLOCK):
        place = block * (2 + size_of_codes(bits))
        scale = load_half(blocks, place)
        first, second = load_codes(blocks, bits, place + 2)
        store(values, block * BLOCK, (floats(first) - middle) * scale)
        store(values, block * BLOCK + LANES, (floats(second) - middle) * scale)


@kernel
def decode_shifted(blocks: Blocks, bits: int, values: Floats) -> None:
    """Decode blocks of Q4_1 or Q5_1."""
    for block in range(values.size // BLOCK):
        place = block * (4 + size_of_codes(bits))
        scale, base = load_half(blocks, place), load_half(blocks, place + 2)
        first, second = load_codes(blocks, bits, place + 4)
        store(values, block * BLOCK, floats(first) * scale + base)
        store(values, block * BLOCK + LANES, floats(second) * scale + base)


@inner
def size_of_codes(bits: int) -> int:
    """Return the bytes that 32 codes of 4 or 5 bits take."""
    return BLOCK * bits // 8


@inner
def store_codes(first: Any, second: Any, bits: int, place: int, blocks: Blocks) -> None:
    """Write 32 codes: the fifth bits, if there are any, and then the other four, two a byte."""
    if bits == 5:
        store_bits(blocks, place, first > 15)
        store_bits(blocks, place + 2, second > 15)
        place += 4
    store(blocks, place, (first & 15) | (second << 4))


@inner
def load_codes(blocks: Blocks, bits: int, place: int) -> tuple[Any, Any]:
    """Return 32 codes that `store_codes` wrote."""
    if bits == 4:
        packed = load(blocks, place)
        return packed & 15, packed >> 4
    packed = load(blocks, place + 4)
    first, second = packed & 15, packed >> 4
    first = where(load_bits(blocks, place), first + 16, first)
    second = where(load_bits(blocks, place + 2), second + 16, second)
    return first, second


@inner
def inverse_of(scale: np.float32) -> np.float32:
    """Return what values are multiplied with: infinite for a scale that is small enough, 0 for 0."""
    return ONE / scale if scale != 0 else ZERO


@inner
def first_of_size(block: Floats, size: np.float32) -> np.float32:
    """Return the first value of a block whose absolute value is the one that is given; one of them has it."""
    for place in range(block.size):
        if abs(block[place]) == size:
            found: np.float32 = block[place]
            return found
    return size

"""Values that codes stand for, as float32: the small floats, nibbles, rotations and swizzled scales.

The tables are computed, so that what a format's paper or specification says can be read off them.
"""

from __future__ import annotations

from functools import cache
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Bytes = NDArray[np.uint8]

# OCP Microscaling Formats 1.0, table 5: sign, two bits of exponent, one of mantissa.
E2M1: Final = np.array([sign * size for sign in (1, -1) for size in (0, 0.5, 1, 1.5, 2, 3, 4, 6)], np.float32)
LOW_FIRST, HIGH_FIRST = "low", "high"
GROUP: Final = 256  # values that ConvRot mostly rotates together
TILE: Final = 128  # rows of scales that tensor cores read together


@cache
def float8_levels(dtype: str) -> Floats:
    """Return the 256 values of a float of 8 bits, by its safetensors name."""
    codes = np.arange(256)
    if dtype == "F8_E8M0":
        levels = np.ldexp(1.0, codes - 127)
        levels[255] = np.nan
        return levels.astype(np.float32)
    bits, bias = (3, 7) if dtype == "F8_E4M3" else (2, 15)
    exponent, mantissa = codes >> bits & 0x7F >> bits, codes & (1 << bits) - 1
    whole = np.where(exponent == 0, mantissa, mantissa + (1 << bits))
    levels = np.ldexp(whole.astype(np.float64), np.maximum(exponent, 1) - bias - bits)
    levels = np.where(codes & 0x80, -levels, levels)
    if dtype == "F8_E4M3":
        levels[[0x7F, 0xFF]] = np.nan
    else:
        special = exponent == 31
        levels = np.where(special & (mantissa > 0), np.nan, np.where(special, np.copysign(np.inf, levels), levels))
    return levels.astype(np.float32)


@cache
def pairs_of(levels: tuple[float, ...], order: str) -> NDArray[np.uint64]:
    """Return the two values in each of 256 bytes, as one number of 64 bits, by the order of the nibbles."""
    table = np.empty((256, 2), np.float32)
    codes = np.arange(256)
    by_code = np.array(levels, np.float32)
    first, second = (codes & 15, codes >> 4) if order == LOW_FIRST else (codes >> 4, codes & 15)
    table[:, 0], table[:, 1] = by_code[first], by_code[second]
    return table.reshape(-1).view(np.uint64)


def nibbles(codes: Bytes, levels: tuple[float, ...], order: str) -> Floats:
    """Return the values of codes that lie two in a byte."""
    from pipeline.kernels.unpacking import look_up_codes

    values = np.empty(2 * codes.size, np.float32)
    look_up_codes(codes, pairs_of(levels, order), values.view(np.uint64))
    return values


def float8_values(codes: Bytes, dtype: str) -> Floats:
    """Return the values of floats of 8 bits, by their safetensors name."""
    from pipeline.kernels.unpacking import look_up_codes

    values = np.empty(codes.size, np.float32)
    look_up_codes(codes, float8_levels(dtype), values)
    return values


def scaled(values: Floats, scales: Floats, run: int) -> Floats:
    """Multiply so many values each with a scale, where they lie, and return them."""
    from pipeline.kernels.unpacking import scale_runs

    # Compiled once: what was read cannot be written, and what was computed can.
    scale_runs(values, np.require(scales.reshape(-1), np.float32, ["C", "W"]), run)
    return values


def as_floats(values: NDArray[Any], dtype: str) -> Floats:
    """Return values as float32, given their safetensors dtype; see `pipeline.lint.subject.NUMPY`."""
    if dtype == "BF16":
        return (values.astype(np.uint32) << np.uint32(16)).view(np.float32)
    if dtype.startswith("F8"):
        levels: Floats = float8_levels(dtype)[values]
        return levels
    return values.astype(np.float32, copy=False)


@cache
def hadamard(size: int) -> Floats:
    """Return the regular Hadamard matrix of a power of four, divided by its norm (ConvRot); it is its own inverse."""
    smallest = np.array([[1, 1, 1, -1], [1, 1, -1, 1], [1, -1, 1, 1], [-1, 1, 1, 1]], np.float32)
    matrix = smallest
    while len(matrix) < size:
        matrix = np.kron(matrix, smallest)
    return (matrix / np.float32(size) ** np.float32(0.5)).astype(np.float32)


def rotated(values: Floats, size: int) -> Floats:
    """Return values whose groups are rotated, or turned back: the matrix is symmetric and orthogonal."""
    groups = values.reshape(-1, size)
    if size == GROUP:
        from pipeline.kernels.hadamard import rotate

        turned = np.empty_like(groups)
        rotate(np.require(groups, requirements=["C", "W"]), turned)
    else:
        turned = groups @ hadamard(size)
    return turned.reshape(values.shape)


def unswizzled(scales: NDArray[Any], first: int, last: int, columns: int) -> NDArray[Any]:
    """Return block scales that lie as tensor cores read them, from one row to another.

    In tiles of 128 rows and 4 columns, of which each holds 32 rows of 16: the rows 32 apart beside each other
    (cuBLAS, "1D block scaling factors layout").
    """
    begin, end, wide = first // TILE, -(-last // TILE), -(-columns // 4)
    tiles = scales.reshape(-1, wide, 32, 4, 4)[begin:end]
    rows = tiles.transpose(0, 3, 2, 1, 4).reshape(-1, wide * 4)
    return rows[first - begin * TILE : last - begin * TILE, :columns]

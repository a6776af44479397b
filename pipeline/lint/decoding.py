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
    values: Floats = pairs_of(levels, order)[codes].view(np.float32)
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
    turned: Floats = (values.reshape(-1, size) @ hadamard(size)).reshape(values.shape)
    return turned


def unswizzled(scales: NDArray[Any], rows: int, columns: int) -> NDArray[Any]:
    """Return block scales in rows that lie as tensor cores read them.

    In tiles of 128 rows and 4 columns, of which each holds 32 rows of 16: the rows 32 apart beside each other
    (cuBLAS, "1D block scaling factors layout").
    """
    tall, wide = -(-rows // 128), -(-columns // 4)
    tiles = scales.reshape(tall, wide, 32, 4, 4)
    return tiles.transpose(0, 3, 2, 1, 4).reshape(tall * 128, wide * 4)[:rows, :columns]

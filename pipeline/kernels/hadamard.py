"""ConvRot: rows rotated in groups of 256 by a regular Hadamard matrix, and then int8 with one scale a row.

The matrix is comfy-kitchen's: the fourth Kronecker power of the one below, over 16, which is its own inverse.

     1   1   1  -1
     1   1  -1   1
     1  -1   1   1
    -1   1   1   1

comfy-kitchen 0.2.40 ``quantize_int8_convrot_weight`` multiplies by it with whatever BLAS there is, and float32 sums of
256 terms depend on their order: two machines make two files. Here sums are of float64 and are rounded to float32 once.
Those of float16 are exact, and so are those of bfloat16 in every group whose exponents span less than 37: no order can
change a bit of them. The bytes are those of comfy-kitchen's own functions where they rotate float64.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.kernels.compiling import inner, kernel
from pipeline.kernels.formats import widen
from pipeline.kernels.rows import Scales, Sums, Values, absmax_of, encode_int8

GROUP = 256
SHARE = 1 / 16  # what the matrix of ones is multiplied with; its square is one over the size of a group

Doubles = NDArray[np.float64]
Floats = NDArray[np.float32]


@kernel
def pack_convrot(values: Values, scales: Scales, codes: NDArray[np.int8], sums: Sums) -> None:
    """Rotate and quantize rows; the arguments are those of the kernels of `pipeline.kernels.rows`."""
    group, rotated = np.empty(GROUP, np.float64), np.empty(values.shape[1], np.float32)
    for row in range(values.shape[0]):
        rotate_row(values[row], group, rotated)
        scales[row] = encode_int8(rotated, absmax_of(rotated), codes[row], sums)


@kernel
def rotate(values: Values, rotated: Floats) -> None:
    """Rotate rows whose columns are a multiple of 256, or rotate them back."""
    group = np.empty(GROUP, np.float64)
    for row in range(values.shape[0]):
        rotate_row(values[row], group, rotated[row])


@inner
def rotate_row(row: Values, group: Doubles, rotated: Floats) -> None:
    """Rotate the groups of a row: digit by digit of the places, written to the base of four."""
    for number in range(row.size // GROUP):
        first = number * GROUP
        for place in range(64):
            group[place], group[place + 64], group[place + 128], group[place + 192] = four_sums(
                widen(row[first + place]),
                widen(row[first + place + 64]),
                widen(row[first + place + 128]),
                widen(row[first + place + 192]),
            )
        for block in range(4):
            for within in range(16):
                place = block * 64 + within
                group[place], group[place + 16], group[place + 32], group[place + 48] = four_sums(
                    group[place], group[place + 16], group[place + 32], group[place + 48]
                )
        for block in range(16):
            for within in range(4):
                place = block * 16 + within
                group[place], group[place + 4], group[place + 8], group[place + 12] = four_sums(
                    group[place], group[place + 4], group[place + 8], group[place + 12]
                )
        for block in range(64):
            place = block * 4
            a, b, c, d = four_sums(group[place], group[place + 1], group[place + 2], group[place + 3])
            rotated[first + place] = np.float32(a * SHARE)
            rotated[first + place + 1] = np.float32(b * SHARE)
            rotated[first + place + 2] = np.float32(c * SHARE)
            rotated[first + place + 3] = np.float32(d * SHARE)


@inner
def four_sums(a: Any, b: Any, c: Any, d: Any) -> tuple[float, float, float, float]:
    """Return the product of the matrix of four with four values."""
    plus, minus = np.float64(a) + np.float64(b), np.float64(a) - np.float64(b)
    more, less = np.float64(c) + np.float64(d), np.float64(c) - np.float64(d)
    return plus + less, plus - less, minus + more, more - minus

"""What of a base is left in the values that were made of it: squared errors and the like, summed in one go."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.kernels.compiling import kernel
from pipeline.kernels.formats import add_product, add_square, widen
from pipeline.kernels.rows import PART

Floats = NDArray[np.float32]

HALF = 0.5  # of a row's squares, from which on nothing of it is left


@kernel
def power_of(values: Floats) -> float:
    """Return the sum of squares; not finite where a value is not, or too large for its square."""
    total = 0.0
    for first in range(0, values.size, PART):
        part = values[first : first + PART]
        power = np.float32(0)
        for place in range(part.size):
            power = add_square(power, part[place])
        total += np.float64(power)
    return total


@kernel
def compare_rows(values: Floats, base: NDArray[Any], columns: int, sums: NDArray[np.float64]) -> None:
    """Add to sums what rows of values and those of a base have in common.

    Args:
        values: Whole rows.
        base: As many in any format of `pipeline.kernels.formats`.
        columns: How long a row is.
        sums: Six: squared differences, squares of the base, products of both, squares of the values; and of the rows of
            which more than half is lost, how many they are and the squares of the base.
    """
    for row in range(values.size // columns):
        noise = signal = 0.0
        for part in range(-(-columns // PART)):
            begin = row * columns + part * PART
            ours = values[begin : begin + min(PART, columns - part * PART)]
            theirs = base[begin : begin + ours.size]
            lost = kept = product = power = np.float32(0)
            for place in range(ours.size):
                value, wanted = ours[place], widen(theirs[place])
                lost, kept = add_square(lost, value - wanted), add_square(kept, wanted)
                product, power = add_product(product, value, wanted), add_square(power, value)
            noise, signal = noise + np.float64(lost), signal + np.float64(kept)
            sums[2] += product
            sums[3] += power
        sums[0] += noise
        sums[1] += signal
        if noise > HALF * signal and signal > 0:
            sums[4] += 1
            sums[5] += signal

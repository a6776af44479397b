"""What is lost by packing: squared errors and squared values, summed in a unit in which neither over- nor underflows.

``sums`` are eight float64, four partial sums of squared errors and four of squared values, added to here.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.kernels.compiling import inner
from pipeline.kernels.formats import magnitude, of_magnitude
from pipeline.kernels.lanes import LANES, absolute, add_weighted, highest, larger, load, splat

Floats = NDArray[np.float32]
Sums = NDArray[np.float64]

ZERO = np.float32(0)


@inner
def add_errors(values: Floats, decoded: Floats, sums: Sums) -> None:
    """Add what a block lost, of whole lanes."""
    sizes = splat(ZERO)
    for part in range(values.size // LANES):
        sizes = larger(absolute(load(values, part * LANES)), sizes)
    power, weight = unit_of(highest(sizes))
    noise = signal = splat(ZERO)
    for part in range(values.size // LANES):
        value = load(values, part * LANES)
        error, scaled = (value - load(decoded, part * LANES)) * power, value * power
        noise, signal = noise + error * error, signal + scaled * scaled
    add_weighted(sums, noise, signal, weight)


@inner
def add_errors_of_two(values: tuple[Any, Any], decoded: tuple[Any, Any], largest: np.float32, sums: Sums) -> None:
    """Add what 32 values lost, of which the largest absolute value is known."""
    power, weight = unit_of(largest)
    errors = (values[0] - decoded[0]) * power, (values[1] - decoded[1]) * power
    scaled = values[0] * power, values[1] * power
    noise, signal = errors[0] * errors[0] + errors[1] * errors[1], scaled[0] * scaled[0] + scaled[1] * scaled[1]
    add_weighted(sums, noise, signal, weight)


@inner
def unit_of(largest: np.float32) -> tuple[np.float32, np.float64]:
    """Return the power of two by which values of at most this size can be multiplied; and what their squares count."""
    bits = min(max(magnitude(largest) & 0x7F800000, 0x00800000), 0x7E000000)  # of a power that has an inverse
    power, inverse = of_magnitude(0x7F000000 - bits, largest), of_magnitude(bits, largest)
    return power, np.float64(inverse) * np.float64(inverse)

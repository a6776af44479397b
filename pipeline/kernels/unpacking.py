"""Codes back into values: looked up in a table, and multiplied with the scales of their runs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pipeline.kernels.compiling import kernel

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@kernel
def look_up_codes(codes: NDArray[np.uint8], table: NDArray[Any], values: NDArray[Any]) -> None:
    """Fill in what a table of 256 has for each byte: a value, or two of them as one number of 64 bits."""
    for place in range(codes.size):
        values[place] = table[codes[place]]


@kernel
def scale_runs(values: NDArray[np.float32], scales: NDArray[np.float32], run: int) -> None:
    """Multiply so many values each with a scale; of the last run there may be less."""
    for number in range(scales.size):
        of_run = values[number * run : (number + 1) * run]
        scale = scales[number]
        for place in range(of_run.size):
            of_run[place] *= scale

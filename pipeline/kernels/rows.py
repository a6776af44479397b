"""Weights of 8 bits with one scale a row: integers and float8 (e4m3), as three libraries make them.

Each kernel follows one function of one library to the last rounding, on the CPU: bitsandbytes 0.50.2
``int8_vectorwise_quant``, torchao 0.18 ``quantize_affine`` and ``_quantize_affine_float8``, optimum-quanto 0.2.7
``quantize_symmetric``.

All take the values as a matrix (see `pipeline.kernels.formats`), fill ``scales`` (one a row) and ``codes`` (of the
matrix's shape), and add to ``sums`` the squared errors and the squared values.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.kernels.compiling import kernel
from pipeline.kernels.formats import (
    add_square,
    magnitude,
    narrow,
    nearest,
    of_magnitude,
    widen,
)

Values = NDArray[Any]
Scales = NDArray[Any]
Sums = NDArray[np.float64]

ONE = np.float32(1)
HALF = np.int16(0)  # stands for its format, float16
INT8 = (np.float32(-128), np.float32(127))
FLOAT8 = np.float32(448)
STEPS = np.float32(127.5)  # torchao halves the 255 steps between -128 and 127
EPSILON = np.float32(2.0**-23)  # torchao's smallest scale: float32's eps, whatever the dtype
PART = 4096  # columns whose squares are summed in float32 before they join the float64 sum


@kernel
def absmax_of(row: Values) -> np.float32:
    """Return the largest absolute value of a row."""
    largest = np.int32(0)
    for place in range(row.size):
        largest = max(largest, magnitude(row[place]))
    return of_magnitude(largest, row[0])


@kernel
def add_lost(row: Values, sums: Sums) -> None:
    """Count a row that comes back as zeros: its error is itself."""
    for place in range(row.size):
        value = np.float64(widen(row[place]))
        sums[0] += value * value
        sums[1] += value * value


@kernel
def pack_bitsandbytes_int8(values: Values, scales: Scales, codes: NDArray[np.int8], sums: Sums) -> None:
    """Quantize as LLM.int8() does: values become float16 first, and ``scales`` are their float32 absmax."""
    columns = values.shape[1]
    for row in range(values.shape[0]):
        absmax = widen(narrow(absmax_of(values[row]), HALF))
        scales[row] = absmax
        if absmax == 0 or absmax == np.float32(np.inf):  # beyond float16
            codes[row] = 0
            add_lost(values[row], sums)
            continue
        inverse = (ONE / absmax) * np.float32(127)
        unit = np.float64(absmax) / 127
        for part in range(-(-columns // PART)):
            noise = signal = np.float32(0)
            for within in range(min(PART, columns - part * PART)):
                place = part * PART + within
                value = widen(values[row, place])
                code = nearest(widen(narrow(value, HALF)) * inverse)
                codes[row, place] = np.int8(code)
                noise = add_square(noise, value * inverse - code)
                signal = add_square(signal, value * inverse)
            sums[0] += noise * unit * unit
            sums[1] += signal * unit * unit


@kernel
def pack_torchao_int8(values: Values, scales: Scales, codes: NDArray[np.int8], sums: Sums) -> None:
    """Quantize as ``Int8Tensor.from_hp`` does, symmetric: the scale is found in the weight's own dtype."""
    columns = values.shape[1]
    for row in range(values.shape[0]):
        scale = max(widen(narrow(absmax_of(values[row]) / STEPS, values[0, 0])), EPSILON)
        scales[row] = scale
        inverse = ONE / scale
        unit = np.float64(scale)
        for part in range(-(-columns // PART)):
            noise = signal = np.float32(0)
            for within in range(min(PART, columns - part * PART)):
                place = part * PART + within
                scaled = widen(values[row, place]) * inverse
                code = min(max(nearest(scaled), INT8[0]), INT8[1])
                codes[row, place] = np.int8(code)
                noise = add_square(noise, scaled - code)
                signal = add_square(signal, scaled)
            sums[0] += noise * unit * unit
            sums[1] += signal * unit * unit

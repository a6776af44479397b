"""Weights of 8 bits with one scale a row: integers and float8 (e4m3), as six libraries make them.

Each kernel follows one function of one library to the last rounding, on the CPU: bitsandbytes 0.50.2
``int8_vectorwise_quant``, torchao 0.18 ``quantize_affine`` and ``_quantize_affine_float8``, optimum-quanto 0.2.7
``quantize_symmetric``, comfy-kitchen 0.2.40 ``quantize_int8_rowwise`` of float32, diffusers 0.42.1 ``quantize_fp8r``,
compressed-tensors 0.20.1 ``calculate_qparams`` and ``quantize``.

All take the values as a matrix (see `pipeline.kernels.formats`), fill ``scales`` (one a row) and ``codes`` (of the
matrix's shape), and add to ``sums`` the squared errors and the squared values.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.kernels.compiling import inner, kernel
from pipeline.kernels.formats import (
    add_square,
    float8_code,
    magnitude,
    narrow,
    nearest,
    of_magnitude,
    round_to_float8,
    widen,
)

Values = NDArray[Any]
Scales = NDArray[Any]
Sums = NDArray[np.float64]

ONE = np.float32(1)
HALF = np.int16(0)  # stands for its format, float16
INT8 = (np.float32(-128), np.float32(127))
FLOAT8 = np.float32(448)
LARGEST, SIGN, NOT_A_NUMBER = np.uint8(0x7E), np.uint8(0x80), np.uint8(0xFF)  # of e4m3
ROUNDED_OFF = np.float32(2.0**-10)  # half the smallest number of e4m3
INFINITE = np.float32(np.inf)
STEPS = np.float32(127.5)  # torchao halves the 255 steps between -128 and 127
EPSILON = np.float32(2.0**-23)  # torchao's smallest scale: float32's eps, whatever the dtype
COMFY_LEAST, BFL_LEAST = np.float32(1e-30), np.float32(1e-12)  # the smallest scales of these two
PART = 4096  # columns whose squares are summed in float32 before they join the float64 sum


@kernel
def absmax_of(row: Values) -> np.float32:
    """Return the largest absolute value of a row."""
    largest = np.int32(0)
    for place in range(row.size):
        largest = max(largest, magnitude(row[place]))
    absmax: np.float32 = of_magnitude(largest, row[0])
    return absmax


@kernel
def sum_of_squares(row: Values) -> float:
    """Return the sum of a row's squared values."""
    total = 0.0
    for place in range(row.size):
        total += np.float64(widen(row[place])) ** 2
    return total


@inner
def add_lost(row: Values, sums: Sums) -> None:
    """Count a row that comes back as zeros: its error is itself."""
    lost = sum_of_squares(row)
    sums[0] += lost
    sums[1] += lost


@kernel
def pack_bitsandbytes_int8(values: Values, scales: Scales, codes: NDArray[np.int8], sums: Sums) -> None:
    """Quantize as LLM.int8() does: values become float16 first, and ``scales`` are their float32 absmax."""
    columns = values.shape[1]
    for row in range(values.shape[0]):
        absmax = widen(narrow(absmax_of(values[row]), HALF))
        scales[row] = absmax
        if not 0 < absmax < INFINITE:  # beyond float16
            codes[row] = 0
            add_lost(values[row], sums)
            sums[0] += absmax * 0  # zeros times infinity are read back
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
        absmax = absmax_of(values[row])
        scale = max(widen(narrow(absmax / STEPS, values[0, 0])), EPSILON)
        scales[row] = scale
        inverse = ONE / scale
        if absmax * inverse <= np.float32(0.5):
            codes[row] = 0
            add_lost(values[row], sums)
            continue
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


@kernel
def pack_quanto_int8(values: Values, scales: Scales, codes: NDArray[np.int8], sums: Sums) -> None:
    """Quantize as ``quantize_symmetric`` does: scale and quotient are rounded to the weight's own dtype."""
    columns, like = values.shape[1], values[0, 0]
    for row in range(values.shape[0]):
        stored = narrow(absmax_of(values[row]) / np.float32(127), like)
        scales[row] = stored
        scale = widen(stored)
        if scale == 0:  # the quotients are infinite, or 0 / 0
            for place in range(columns):
                value = widen(values[row, place])
                codes[row, place] = np.int8(127) if value > 0 else np.int8(-128) if value < 0 else np.int8(0)
            add_lost(values[row], sums)
            continue
        unit = np.float64(scale)
        for part in range(-(-columns // PART)):
            noise = signal = np.float32(0)
            for within in range(min(PART, columns - part * PART)):
                place = part * PART + within
                scaled = widen(values[row, place]) / scale
                code = min(max(nearest(widen(narrow(scaled, like))), INT8[0]), INT8[1])
                codes[row, place] = np.int8(code)
                noise = add_square(noise, scaled - code)
                signal = add_square(signal, scaled)
            sums[0] += noise * unit * unit
            sums[1] += signal * unit * unit


@kernel
def pack_comfy_int8(values: Values, scales: Scales, codes: NDArray[np.int8], sums: Sums) -> None:
    """Quantize as ``quantize_int8_rowwise`` does float32 values."""
    for row in range(values.shape[0]):
        scales[row] = encode_int8(values[row], absmax_of(values[row]), codes[row], sums)


@inner
def encode_int8(row: Values, absmax: np.float32, codes: NDArray[np.int8], sums: Sums) -> np.float32:
    """Encode the quotients of a row and a scale of comfy-kitchen's; return the scale."""
    scale = max(absmax / np.float32(127), COMFY_LEAST)
    unit = np.float64(scale)
    for part in range(-(-row.size // PART)):
        noise = signal = np.float32(0)
        for within in range(min(PART, row.size - part * PART)):
            place = part * PART + within
            scaled = widen(row[place]) / scale
            code = nearest(scaled)
            codes[place] = np.int8(code)
            noise = add_square(noise, scaled - code)
            signal = add_square(signal, scaled)
        sums[0] += noise * unit * unit
        sums[1] += signal * unit * unit
    return scale


@kernel
def unpack_int8(codes: NDArray[np.int8], scales: Scales, values: NDArray[np.float32]) -> None:
    """Fill a matrix with what its codes and the scales of its rows stand for."""
    for row in range(codes.shape[0]):
        for place in range(codes.shape[1]):
            values[row, place] = np.float32(codes[row, place]) * scales[row]


@kernel
def pack_bfl_float8(values: Values, scales: Scales, codes: NDArray[np.uint8], sums: Sums) -> None:
    """Quantize as ``quantize_fp8r`` does, in float32."""
    for row in range(values.shape[0]):
        absmax = absmax_of(values[row])
        scale = max(absmax / FLOAT8, BFL_LEAST)
        scales[row] = scale
        encode_small_float8(values[row], absmax, scale, np.float32(0), codes[row], sums)


@kernel
def pack_compressed_float8(
    values: Values, least: np.float32, scales: Scales, codes: NDArray[np.uint8], sums: Sums
) -> None:
    """Quantize as a channel of compressed-tensors: in the weight's own dtype, ``least`` instead of a scale of zero."""
    like = values[0, 0]
    for row in range(values.shape[0]):
        absmax = absmax_of(values[row])
        scale = widen(narrow(absmax / FLOAT8, like))
        scale = scale if scale > 0 else least
        scales[row] = narrow(scale, like)
        encode_small_float8(values[row], absmax, scale, like, codes[row], sums)


@inner
def encode_small_float8(
    row: Values, absmax: np.float32, scale: np.float32, like: Any, codes: NDArray[np.uint8], sums: Sums
) -> None:
    """Encode a row whose scale may be larger than all of its values, whose squares are too small for float32 then."""
    if absmax / scale <= ROUNDED_OFF:
        encode_float8(row, scale, like, codes, np.zeros(2))
        add_lost(row, sums)
    else:
        encode_float8(row, scale, like, codes, sums)


@kernel
def pack_torchao_float8(values: Values, scales: Scales, codes: NDArray[np.uint8], sums: Sums) -> None:
    """Quantize as ``Float8Tensor.from_hp`` does: the scale is found in the weight's own dtype, and is float32 then."""
    like = values[0, 0]
    for row in range(values.shape[0]):
        scale = widen(narrow(absmax_of(values[row]) / FLOAT8, like))
        scales[row] = scale
        encode_float8(values[row], scale, np.float32(0), codes[row], sums)


@kernel
def pack_quanto_float8(values: Values, scales: Scales, codes: NDArray[np.uint8], sums: Sums) -> None:
    """Quantize as ``quantize_symmetric`` does: scale and quotient are rounded to the weight's own dtype."""
    like = values[0, 0]
    for row in range(values.shape[0]):
        stored = narrow(absmax_of(values[row]) / FLOAT8, like)
        scales[row] = stored
        encode_float8(values[row], widen(stored), like, codes[row], sums)


@inner
def encode_float8(row: Values, scale: np.float32, like: Any, codes: NDArray[np.uint8], sums: Sums) -> None:
    """Encode the quotients of a row and its scale, rounded to the format of ``like`` first."""
    if scale == 0:
        encode_beyond(row, 0.0, codes, sums)
        return
    unit = np.float64(scale)
    for part in range(-(-row.size // PART)):
        noise = signal = np.float32(0)
        for within in range(min(PART, row.size - part * PART)):
            place = part * PART + within
            scaled = widen(row[place]) / scale
            rounded = round_to_float8(min(max(widen(narrow(scaled, like)), -FLOAT8), FLOAT8))
            codes[place] = float8_code(rounded)
            noise = add_square(noise, scaled - rounded)
            signal = add_square(signal, scaled)
        sums[0] += noise * unit * unit
        sums[1] += signal * unit * unit


@inner
def encode_beyond(values: Values, unit: float, codes: NDArray[np.uint8], sums: Sums) -> None:
    """Encode values whose scale has no finite inverse: as libraries have it, a zero becomes NaN, and so its error."""
    for place in range(values.size):
        value = np.float64(widen(values[place]))
        codes[place] = LARGEST if value > 0 else LARGEST | SIGN if value < 0 else NOT_A_NUMBER
        error = abs(value) - np.float64(FLOAT8) * unit
        sums[0] += error * error if value != 0 else np.nan
        sums[1] += value * value

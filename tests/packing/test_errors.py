"""The error that a packing counts is that of the stored tensors, read as the library reads them."""

from __future__ import annotations

import json
from collections.abc import Mapping

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from packing.cases import CASES, DTYPES, NAME, Case, by_library, by_us
from packing.weights import weights

Tensors = Mapping[str, torch.Tensor]
Floats = NDArray[np.float64]
FLOAT8_NAMES = {torch.float8_e4m3fn}


def exact(tensor: torch.Tensor) -> Floats:
    """Return a tensor's values as float64."""
    return (
        tensor.to(torch.float32).numpy().astype(np.float64)
        if tensor.is_floating_point()
        else tensor.numpy().astype(np.float64)
    )


def four_bit(tensors: Tensors, weight: torch.Tensor) -> Floats:
    absmax = exact(tensors[f"{NAME}.absmax"])
    if f"{NAME}.nested_absmax" in tensors:
        (state,) = (tensors[name] for name in tensors if ".quant_state." in name)
        offset = np.float32(json.loads(state.numpy().tobytes())["nested_offset"])
        levels = tensors[f"{NAME}.nested_quant_map"].numpy()[tensors[f"{NAME}.absmax"].numpy()]
        nested = np.repeat(tensors[f"{NAME}.nested_absmax"].numpy(), 256)[: absmax.size]
        absmax = (levels * nested + offset).astype(np.float64)
    packed = tensors[NAME].numpy().reshape(-1)
    codes = np.stack([packed >> 4, packed & 15], axis=1).reshape(-1)[: weight.numel()]
    return exact(tensors[f"{NAME}.quant_map"])[codes] * np.repeat(absmax, 64)[: codes.size]


def by_rows(tensors: Tensors, weight: torch.Tensor) -> Floats:
    module = NAME.removesuffix("weight")
    if NAME in tensors:
        return exact(tensors[NAME]) * exact(tensors[f"{module}SCB"])[:, None] / 127
    if f"{NAME}._data" in tensors:
        return exact(tensors[f"{NAME}._data"]) * exact(tensors[f"{NAME}._scale"])
    return exact(tensors[f"{module}_weight_qdata"]) * exact(tensors[f"{module}_weight_scale"])


def by_groups(tensors: Tensors, weight: torch.Tensor, bits: int) -> Floats:
    scales, shifts = exact(tensors[f"{NAME}._scale"]), exact(tensors[f"{NAME}._shift"])
    packed = tensors[f"{NAME}._data._data"].numpy()
    codes = np.concatenate([packed >> place & 2**bits - 1 for place in range(0, 8, bits)])
    groups = weight.numel() // packed.shape[1]
    return codes[:groups] * scales - shifts


def by_comfy(tensors: Tensors, weight: torch.Tensor, scheme: str) -> Floats:
    """Return what comfy-kitchen reads, in the rotation that the weight was quantized in."""
    from comfy_kitchen.backends.eager import quantization as read
    from comfy_kitchen.float_utils import from_blocked

    codes, scale = tensors[NAME], tensors[f"{NAME}_scale"]
    if scheme.startswith("int8"):
        return exact(codes) * exact(scale)
    if scheme == "fp8":
        return exact(read.dequantize_per_tensor_fp8(codes, scale, torch.float32))
    if scheme == "nvfp4":
        values = exact(read.dequantize_nvfp4(codes, tensors[f"{NAME}_scale_2"], scale, torch.float32))
    else:  # not by the library, whose float32 overflows where the largest values were rounded up
        powers = exact(from_blocked(scale, codes.shape[0], codes.shape[1] // 32))
        values = exact(codes) * np.where(powers > 0, np.exp2(powers - 127), 0).repeat(32, axis=1)
    return values[: weight.shape[0], : weight.shape[1]]


def by_bfl(tensors: Tensors, scheme: str) -> Floats:
    """Return what diffusers reads."""
    from diffusers.quantizers.bfl.utils import dequantize_fp8r, dequantize_nvfp4

    codes, scale = tensors[NAME], tensors[f"{NAME}_scale"]
    if scheme == "fp8":
        return exact(dequantize_fp8r(codes, scale))
    return exact(dequantize_nvfp4(codes, scale, tensors[f"{NAME}_scale_2"]))


def by_compressed_tensors(tensors: Tensors, weight: torch.Tensor) -> Floats:
    """Return what compressed-tensors unpacks, times its scales."""
    from compressed_tensors.compressors.nvfp4.helpers import unpack_fp4_from_uint8
    from compressed_tensors.compressors.pack_quantized.helpers import unpack_from_int32

    scales = exact(tensors[f"{NAME}_scale"])
    if NAME in tensors:
        return exact(tensors[NAME]) * scales
    if (whole := tensors.get(f"{NAME}_global_scale")) is not None:
        units = (scales.astype(np.float32) / whole.numpy()).astype(np.float64)
        return exact(unpack_fp4_from_uint8(tensors[f"{NAME}_packed"], *weight.shape)) * units.repeat(16, axis=1)
    codes = exact(unpack_from_int32(tensors[f"{NAME}_packed"], 4, weight.shape))
    return codes * scales.repeat(codes.shape[1] // scales.shape[1], axis=1)


def turned(case: Case, weight: torch.Tensor) -> torch.Tensor:
    """Return a weight in the rotation that it is quantized in, which keeps squares."""
    if case.scheme != "int8-convrot" or weight.shape[1] % 256:
        return weight
    from comfy_kitchen.backends.eager.quantization import rotate_int8_convrot_weight

    return rotate_int8_convrot_weight(weight.double(), 256)


def dequantized(case: Case, weight: torch.Tensor) -> Floats:
    """Return what the library's tensors stand for."""
    tensors = by_library(case, weight)
    if case.backend == "comfy":
        values = by_comfy(tensors, weight, case.scheme)
    elif case.backend == "compressed-tensors":
        values = by_compressed_tensors(tensors, weight)
    elif case.backend == "bfl":
        values = by_bfl(tensors, case.scheme)
    elif case.scheme in {"nf4", "fp4"}:
        values = four_bit(tensors, weight)
    elif case.scheme in {"int4", "int2"}:
        values = by_groups(tensors, weight, int(case.scheme.removeprefix("int")))
    else:
        values = by_rows(tensors, weight)
    return values.reshape(weight.shape)


@pytest.mark.parametrize(
    "dtype", [pytest.param(dtype, marks=[pytest.mark.nightly] * (dtype == "float16")) for dtype in DTYPES]
)
@pytest.mark.parametrize("case", CASES, ids=str)
@given(data=st.data())
@settings(max_examples=10, deadline=None, derandomize=True)
def test_the_counted_error_is_that_of_what_is_stored(case: Case, dtype: str, data: st.DataObject) -> None:
    torch.set_num_threads(1)
    weight = data.draw(weights(dtype, st.one_of(st.integers(2, 400), st.just(5000))))
    result = by_us(case, weight, [7, 8])
    if result is None:
        return
    values = exact(turned(case, weight))
    with np.errstate(invalid="ignore", over="ignore"):
        noise = np.square(values - dequantized(case, weight)).sum()
    signal = np.square(values).sum()
    assert result.signal == pytest.approx(signal, rel=1e-4, abs=0)
    # Kernels find errors in float32, which is exact to some 100 dB below the values.
    assert result.noise == pytest.approx(noise, rel=1e-4, abs=1e-10 * signal, nan_ok=True)

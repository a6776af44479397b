"""What codes are read as is what their libraries read; and rows are rotated as comfy-kitchen rotates them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from comfy_kitchen.backends.eager import quantization as comfy
from comfy_kitchen.float_utils import from_blocked, to_blocked
from compressed_tensors.compressors.pack_quantized.helpers import unpack_from_int32
from diffusers.quantizers.bfl import utils as bfl
from numpy.typing import NDArray
from packing.cases import NAME, Case, by_library

from pipeline.kernels import eights, fours, groups, hadamard, rows
from pipeline.kernels.tiles import tiled, untiled

Tensors = dict[str, torch.Tensor]
SHAPE = 96, 512


def weight_of(seed: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    """Return rows of several magnitudes."""
    random = np.random.default_rng(seed)
    values = random.standard_normal(SHAPE) * 2.0 ** random.integers(-9, 3, (SHAPE[0], 1))
    return torch.from_numpy(values).to(dtype)


def bits(tensor: torch.Tensor) -> NDArray[Any]:
    """Return codes of a byte each."""
    return tensor.view(torch.uint8).numpy()


def read(case: Case, tensors: Tensors) -> NDArray[np.float32]:
    """Return what our kernels read."""
    values = np.empty(SHAPE, np.float32)
    codes, scale = tensors[NAME], tensors[f"{NAME}_scale"]
    if case.scheme.startswith("int8"):
        rows.unpack_int8(codes.numpy(), scale.numpy()[:, 0], values)
    elif case.scheme == "mxfp8":
        blocks = untiled(scale.numpy(), SHAPE[0], SHAPE[1] // 32)
        eights.unpack_mxfp8(bits(codes).reshape(-1), blocks.reshape(-1), values.reshape(-1))
    elif case.scheme == "fp8":
        eights.unpack_float8(bits(codes), np.broadcast_to(scale.numpy(), SHAPE[:1]), values)
    else:
        ours = case.backend == "comfy"
        blocks = untiled(bits(scale), SHAPE[0], SHAPE[1] // 16) if ours else bits(scale)
        whole = np.float32(tensors[f"{NAME}_scale_2"])
        fours.unpack_fours(bits(codes).reshape(-1), blocks.reshape(-1), whole, ours, values.reshape(-1))
    return values


def by_its_library(case: Case, tensors: Tensors) -> torch.Tensor:
    """Return what the library reads."""
    codes, scale = tensors[NAME], tensors[f"{NAME}_scale"]
    if case.backend == "bfl":
        made = codes, scale, *([tensors[f"{NAME}_scale_2"]] if case.scheme == "nvfp4" else [])
        return (bfl.dequantize_nvfp4 if case.scheme == "nvfp4" else bfl.dequantize_fp8r)(*made)
    if case.scheme == "fp8":
        return comfy.dequantize_per_tensor_fp8(codes, scale, torch.float32)
    if case.scheme == "mxfp8":
        return comfy.dequantize_mxfp8(codes, scale, torch.float32)
    if case.scheme == "nvfp4":
        return comfy.dequantize_nvfp4(codes, tensors[f"{NAME}_scale_2"], scale, torch.float32)
    return comfy.dequantize_int8_simple(codes, scale)


@pytest.mark.parametrize(
    "case",
    [
        *(Case("comfy", scheme) for scheme in ("int8", "fp8", "mxfp8", "nvfp4")),
        *(Case("bfl", scheme) for scheme in ("fp8", "nvfp4")),
    ],
    ids=str,
)
def test_codes_are_read_as_their_library_reads_them(case: Case) -> None:
    tensors = by_library(case, weight_of(1))
    assert np.array_equal(read(case, tensors), by_its_library(case, tensors).numpy())


def test_int4_is_read_as_compressed_tensors_reads_it() -> None:
    tensors, values = by_library(Case("compressed-tensors", "w4a16"), weight_of(5)), np.empty((SHAPE[0] * 4, 128), "f4")
    packed, scale = tensors[f"{NAME}_packed"], tensors[f"{NAME}_scale"]
    groups.unpack_symmetric(packed.view(torch.uint8).numpy().reshape(-1, 64), scale.numpy().reshape(-1), values)
    codes = unpack_from_int32(packed, 4, torch.Size(SHAPE))
    assert np.array_equal(values.reshape(SHAPE), codes * scale.repeat_interleave(128, dim=1))


def test_every_code_of_float8_is_read_as_torch_reads_it() -> None:
    codes, values = np.arange(256, dtype=np.uint8)[None], np.empty((1, 256), np.float32)
    eights.unpack_float8(codes, np.ones(1, np.float32), values)
    assert np.array_equal(values[0], torch.from_numpy(codes[0]).view(torch.float8_e4m3fn).float(), equal_nan=True)


@pytest.mark.parametrize("shape", [(1, 1), (16, 3), (128, 4), (300, 13)])
def test_scales_lie_as_tensor_cores_read_them(shape: tuple[int, int]) -> None:
    scales = np.random.default_rng(0).integers(1, 256, shape).astype(np.uint8)
    lying = to_blocked(torch.from_numpy(scales), flatten=False)
    assert np.array_equal(tiled(scales), lying)
    assert np.array_equal(untiled(lying.numpy(), *shape), scales)
    assert np.array_equal(untiled(lying.numpy(), *shape), from_blocked(lying, *shape))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_no_order_of_summation_changes_a_rotated_row(dtype: torch.dtype) -> None:
    weight, rotated = weight_of(2, dtype), np.empty(SHAPE, np.float32)
    hadamard.rotate(weight.float().numpy(), rotated)
    turned = torch.arange(SHAPE[1]).view(-1, hadamard.GROUP).flip(1).reshape(-1)  # the sums run from the other end
    matrix = comfy.rotate_int8_convrot_weight(torch.eye(hadamard.GROUP, dtype=torch.float64), hadamard.GROUP)
    groups = weight.double()[:, turned].reshape(SHAPE[0], -1, hadamard.GROUP)
    assert np.array_equal(rotated, (groups @ matrix.flip(0)).reshape(SHAPE).float())


def test_the_codes_are_those_of_float32_but_for_few_that_lie_between_two() -> None:
    weight = weight_of(3, torch.bfloat16)
    ours = by_library(Case("comfy", "int8-convrot"), weight)
    codes, scales = comfy.quantize_int8_convrot_weight(weight.float(), hadamard.GROUP)
    apart = (codes.int() - ours[NAME].int()).abs()
    assert apart.max() <= 1
    assert apart.float().mean() < 1e-3
    assert torch.allclose(scales, ours[f"{NAME}_scale"], rtol=1e-6, atol=0)


def test_a_row_that_is_rotated_twice_is_itself() -> None:
    weight, rotated, back = weight_of(4).numpy(), np.empty(SHAPE, np.float32), np.empty(SHAPE, np.float32)
    hadamard.rotate(weight, rotated)
    hadamard.rotate(rotated, back)
    assert np.abs(rotated - weight).max() > 0.1
    assert np.allclose(back, weight, rtol=0, atol=1e-6 * np.abs(weight).max())

"""Black Forest Labs' formats, which diffusers' ``bfl`` quantizer reads from a single file.

Its NVFP4 is NVIDIA ModelOpt's: vLLM and sglang read it as well. Weights are taken as float32, as diffusers' own
functions do.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pipeline.backends.protocol import Layout, Packed, Packing, Scheme

if TYPE_CHECKING:
    import torch

EXTRA = "publish"
DISTRIBUTION = "diffusers"
PACKAGE = "diffusers"
BLOCK = 16
ANY = "any device that torch runs on, with diffusers 0.42 or later"
SCHEMES = {
    "fp8": Scheme("8-bit floats (e4m3) with one scale a row", ANY, 31.5),
    "nvfp4": Scheme("4-bit floats in blocks of 16, as NVIDIA ModelOpt packs them", ANY, 20.4),
}


def layout(scheme: str, options: Mapping[str, Any], name: str, shape: tuple[int, ...], dtype: str) -> Layout:  # noqa: ARG001
    """Return the tensors of a weight: codes and scales."""
    rows, columns = shape
    if scheme == "fp8":
        return {name: ("F8_E4M3", shape), f"{name}_scale": ("F32", (rows,))}
    return {
        name: ("U8", (rows, columns // 2)),
        f"{name}_scale": ("F8_E4M3", (rows, columns // BLOCK)),
        f"{name}_scale_2": ("F32", ()),
    }


def pack(scheme: str, options: Mapping[str, Any], name: str, weight: torch.Tensor) -> Packed:  # noqa: ARG001
    """Quantize one weight with diffusers' own functions."""
    from diffusers.quantizers.bfl.utils import quantize_fp8r, quantize_nvfp4

    names = name, f"{name}_scale", f"{name}_scale_2"
    made = quantize_fp8r(weight) if scheme == "fp8" else quantize_nvfp4(weight)
    return Packed(dict(zip(names, made, strict=False)))


def packing(scheme: str, options: Mapping[str, Any], name: str, shape: tuple[int, ...], dtype: str) -> Packing | None:  # noqa: ARG001
    """Return our own packing of a weight; there is none of rows that are no whole blocks: diffusers fails on them."""
    from pipeline.backends.bfl.packings import Float8Rows
    from pipeline.backends.packings import Fours

    if scheme == "fp8":
        return Float8Rows(name, shape)
    return Fours(name, shape, dtype, high_first=False) if shape[1] % BLOCK == 0 else None


def describe(scheme: str, options: Mapping[str, Any], name: str, shape: tuple[int, ...], dtype: str) -> str | None:
    """Return nothing: the header does not say that a weight is quantized."""


def metadata(scheme: str, class_name: str, parameters: list[str], packed: Mapping[str, str]) -> dict[str, str]:  # noqa: ARG001
    """Return the header's metadata, which says nothing of the quantization."""
    return {"format": "pt"}

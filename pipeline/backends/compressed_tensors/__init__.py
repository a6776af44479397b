"""compressed-tensors: what llm-compressor makes without calibration, as vLLM, sglang and transformers read it.

Scales and quotients are rounded to the weight's dtype, as the library's own functions do.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from pipeline.backends.protocol import Layout, Options, Packed, Packing, Scheme

if TYPE_CHECKING:
    import torch

EXTRA = "compressed-tensors"
DISTRIBUTION = "compressed-tensors"
PACKAGE = "compressed_tensors"
ANY = "any device that torch runs on, with compressed-tensors"


class Grouped(Options):
    """Options of w4a16."""

    group_size: Literal[32, 64, 128] = Field(default=128, description="Weights of a row that share a scale.")


SCHEMES = {
    "fp8-dynamic": Scheme(
        "8-bit floats (e4m3) with one scale a row, activations quantized as they come", ANY, 28.5, activations=True
    ),
    "w4a16": Scheme("4-bit integers in groups", ANY, 19.2, Grouped),
}
PRESETS = {"fp8-dynamic": ("FP8_DYNAMIC", "float-quantized"), "w4a16": ("W4A16", "pack-quantized")}
STORED = {"bfloat16": "BF16", "float16": "F16", "float32": "F32"}


def layout(scheme: str, options: Mapping[str, Any], name: str, shape: tuple[int, ...], dtype: str) -> Layout:
    """Return the tensors of a weight: codes and scales."""
    rows, columns = shape
    if scheme == "fp8-dynamic":
        return {name: ("F8_E4M3", shape), f"{name}_scale": (STORED[dtype], (rows, 1))}
    return {
        f"{name}_packed": ("I32", (rows, columns // 8)),
        f"{name}_scale": (STORED[dtype], (rows, columns // options["group_size"])),
        f"{name}_shape": ("I64", (2,)),
    }


def pack(scheme: str, options: Mapping[str, Any], name: str, weight: torch.Tensor) -> Packed:
    """Quantize one weight with the library's own functions, by the smallest and the largest value of rows or groups."""
    from compressed_tensors.compressors import BaseCompressor
    from compressed_tensors.quantization import preset_name_to_scheme
    from compressed_tensors.quantization.utils import calculate_qparams

    preset, form = PRESETS[scheme]
    settings = preset_name_to_scheme(preset, ["Linear"])
    groups = weight
    if scheme == "w4a16":
        settings.weights.group_size = options["group_size"]
        groups = weight.unflatten(-1, (-1, options["group_size"]))
    keep = scheme == "fp8-dynamic"
    scale, _ = calculate_qparams(groups.amin(-1, keepdim=keep), groups.amax(-1, keepdim=keep), settings.weights)
    compressor = BaseCompressor.get_value_from_registry(form)
    made = compressor.compress({"weight": weight, "weight_scale": scale}, settings)
    return Packed({f"{name.removesuffix('weight')}{key}": value for key, value in made.items()})


def packing(scheme: str, options: Mapping[str, Any], name: str, shape: tuple[int, ...], dtype: str) -> Packing | None:
    """Return our own packing of a weight; there is none of rows that are no whole groups: the library refuses them."""
    from pipeline.backends.compressed_tensors.packings import Float8Rows, Int4Groups

    if scheme == "fp8-dynamic":
        return Float8Rows(name, shape, dtype)
    return Int4Groups(options, name, shape, dtype) if shape[1] % options["group_size"] == 0 else None


def describe(scheme: str, options: Mapping[str, Any], name: str, shape: tuple[int, ...], dtype: str) -> str | None:
    """Return nothing: the header does not say that a weight is quantized."""


def metadata(scheme: str, class_name: str, parameters: list[str], packed: Mapping[str, str]) -> dict[str, str]:  # noqa: ARG001
    """Return the header's metadata, which says nothing of the quantization."""
    return {"format": "pt"}

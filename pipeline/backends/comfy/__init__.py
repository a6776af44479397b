"""ComfyUI: what its own ``comfy-kitchen`` makes, in a single file with the marks by which stock ComfyUI knows it.

Every weight is taken as float32, as Comfy-Org's own files and convert-to-quant have it: the library's functions would
compute in the weight's dtype, where int8 of bfloat16 loses 0.6 dB and float8 of small float16 weights overflows.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pipeline.backends.comfy.marker import marker, rotates
from pipeline.backends.protocol import Layout, Packed, Packing, Scheme

if TYPE_CHECKING:
    import torch

EXTRA = "comfy"
DISTRIBUTION = "comfy-kitchen"
PACKAGE = "comfy_kitchen"
ANY = "ComfyUI, on any device that torch runs on"
SCHEMES = {
    "int8": Scheme(
        "8-bit integers with one scale a row, activations quantized as they come", ANY, 38.6, activations=True
    ),
    "int8-convrot": Scheme(
        "8-bit integers with one scale a row, rotated in groups of 256, activations too", ANY, 38.6, activations=True
    ),
    "fp8": Scheme("8-bit floats (e4m3) with one scale", ANY, 31.5),
    "mxfp8": Scheme("8-bit floats (e4m3) in blocks of 32 with a power of two", ANY, 31.5),
    "nvfp4": Scheme("4-bit floats in blocks of 16, as ComfyUI packs them", ANY, 20.4),
}


def layout(scheme: str, options: Mapping[str, Any], name: str, shape: tuple[int, ...], dtype: str) -> Layout:  # noqa: ARG001
    """Return the tensors of a weight: codes, scales, and the marker."""
    from pipeline.kernels.tiles import tiled_shape

    multiple = {"mxfp8": 32, "nvfp4": 16}.get(scheme, 1)
    rows, columns = (-(-size // multiple) * multiple for size in shape)
    blocks = tiled_shape(rows, columns // multiple)
    parts: dict[str, Layout] = {
        "fp8": {name: ("F8_E4M3", shape), f"{name}_scale": ("F32", ())},
        "mxfp8": {name: ("F8_E4M3", (rows, columns)), f"{name}_scale": ("U8", blocks)},
        "nvfp4": {
            name: ("U8", (rows, columns // 2)),
            f"{name}_scale": ("F8_E4M3", blocks),
            f"{name}_scale_2": ("F32", ()),
        },
    }
    plain: Layout = {name: ("I8", shape), f"{name}_scale": ("F32", (rows, 1))}
    mark = ("U8", (len(marker(scheme, shape)),))
    return {**parts.get(scheme, plain), f"{name.removesuffix('weight')}comfy_quant": mark}


def pack(scheme: str, options: Mapping[str, Any], name: str, weight: torch.Tensor) -> Packed:  # noqa: ARG001
    """Quantize one weight with comfy-kitchen's own layouts."""
    import torch
    from comfy_kitchen import tensor as layouts
    from comfy_kitchen.backends.eager.quantization import rotate_int8_convrot_weight

    values, shape = weight.float(), tuple(weight.shape)
    if scheme == "nvfp4":
        codes, params = layouts.TensorCoreNVFP4Layout.quantize(values)
        scales = {f"{name}_scale": params.block_scale, f"{name}_scale_2": params.scale}
    elif scheme == "mxfp8":
        codes, params = layouts.TensorCoreMXFP8Layout.quantize(values)
        scales = {f"{name}_scale": params.scale.view(torch.uint8)}
    elif scheme == "fp8":
        codes, params = layouts.TensorCoreFP8Layout.quantize(values)
        scales = {f"{name}_scale": params.scale}
    else:
        if rotates(scheme, shape):  # in float64, see `pipeline.kernels.hadamard`
            values = rotate_int8_convrot_weight(weight.double(), 256).float()
        codes, params = layouts.TensorWiseINT8Layout.quantize(values, per_channel=True)
        scales = {f"{name}_scale": params.scale}
    mark = torch.frombuffer(bytearray(marker(scheme, shape).encode()), dtype=torch.uint8)
    tensors = {name: codes, **scales, f"{name.removesuffix('weight')}comfy_quant": mark}
    return Packed(tensors, marker(scheme, shape))


def packing(scheme: str, options: Mapping[str, Any], name: str, shape: tuple[int, ...], dtype: str) -> Packing:  # noqa: ARG001
    """Return our own packing of a weight."""
    from pipeline.backends.comfy.packings import packing_of

    return packing_of(scheme, name, shape, dtype)


def describe(scheme: str, options: Mapping[str, Any], name: str, shape: tuple[int, ...], dtype: str) -> str | None:  # noqa: ARG001
    """Return the marker of a weight, which the header holds once more."""
    return marker(scheme, shape)


def metadata(parameters: list[str], packed: Mapping[str, str]) -> dict[str, str]:  # noqa: ARG001
    """Return the header's metadata: the markers of all quantized layers."""
    layers = {name.removesuffix(".weight"): json.loads(text) for name, text in packed.items()}
    return {"format": "pt", "_quantization_metadata": json.dumps({"format_version": "1.0", "layers": layers})}

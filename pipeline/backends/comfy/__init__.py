"""ComfyUI: what its own ``comfy-kitchen`` makes, in a single file with the marks by which stock ComfyUI knows it.

It reads files in the names of the family alone. What a family has in one tensor, such as the three projections of
attention, is quantized as one. The source's config stays as it is, since the file tells what it holds.

Every weight is taken as float32, as Comfy-Org's own files and convert-to-quant have it: the library's functions would
compute in the weight's dtype, where int8 of bfloat16 loses 0.6 dB and float8 of small float16 weights overflows.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from pipeline.backends import build as by_library
from pipeline.backends.artifact import Form
from pipeline.backends.comfy.marker import TILES, marker, rotates
from pipeline.backends.oracle.quirks import Quirks
from pipeline.backends.protocol import Layout, Loader, Named, Packed, Packing, Scheme, Skip

if TYPE_CHECKING:
    import torch

EXTRA = "comfy"
DISTRIBUTION = "comfy-kitchen"
PACKAGE = "comfy_kitchen"
SKIP: Skip = {"key": "modules_to_not_convert", "spelling": "module"}

REFUSES = {"transformers": "ComfyUI reads text encoders in one file with names of its own, which are not written"}
RUNS_ON = "any device that torch runs on; ComfyUI multiplies the codes themselves where the device can"
SCHEMES = {
    name: Scheme(
        summary,
        RUNS_ON,
        sqnr,
        options=Named,
        refuses=REFUSES,
        multiple=TILES.get(name, 1),
        activations="dynamic" if name.startswith("int8") else "weight-only",
        suffix=suffix,
    )
    for name, suffix, sqnr, summary in (
        ("int8", "int8", 38.6, "8-bit integers with one scale a row, activations quantized as they come"),
        (
            "int8-convrot",
            "int8_convrot",
            38.6,
            "8-bit integers with one scale a row, rotated in groups of 256, activations too",
        ),
        ("fp8", "fp8_scaled", 31.5, "8-bit floats (e4m3) with one scale"),
        ("mxfp8", "mxfp8", 31.5, "8-bit floats (e4m3) in blocks of 32 with a power of two"),
        ("nvfp4", "nvfp4", 20.4, "4-bit floats in blocks of 16, as ComfyUI packs them"),
    )
}
FORM = Form(
    tuple(f"*_{scheme.suffix}.safetensors" for scheme in SCHEMES.values()), config=False, single=True, joint="_"
)
LOADERS = {
    "diffusers": Loader(
        form=FORM,
        part="pipeline.backends.comfy.library:opened",
        how="comfy-kitchen's tensors in diffusers' layers, as in those of ComfyUI, and from_pretrained for the rest",
    )
}

build = partial(by_library.build, worker="pipeline.backends.comfy.worker", form=FORM)


def configuration(scheme: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the file is quantized with; no library writes it into a config."""
    return {"quant_method": "comfy", "scheme": scheme, **options}


def quirks() -> Quirks:
    """Return how diffusers is asked, which knows no such method."""
    from pipeline.backends.comfy import library
    from pipeline.backends.oracle.linears import refuse_unreadable

    return Quirks(quantizer=library.Asked, refuse=refuse_unreadable, left_because=library.left_because)


def layout(scheme: str, options: Mapping[str, Any], name: str, shape: tuple[int, ...], dtype: str) -> Layout:  # noqa: ARG001
    """Return the tensors of a weight: codes, scales, and the marker."""
    from pipeline.kernels.tiles import tiled_shape

    multiple = TILES.get(scheme, 1)
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


def metadata(scheme: str, class_name: str, parameters: list[str], packed: Mapping[str, str]) -> dict[str, str]:  # noqa: ARG001
    """Return the header's metadata: the markers of all quantized layers."""
    layers = {name.removesuffix(".weight"): json.loads(text) for name, text in packed.items()}
    return {"format": "pt", "_quantization_metadata": json.dumps({"format_version": "1.0", "layers": layers})}

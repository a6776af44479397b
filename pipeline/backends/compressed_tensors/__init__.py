"""compressed-tensors: what llm-compressor makes without calibration, as vLLM, sglang and transformers read it.

Scales and quotients are rounded to the weight's dtype, as the library's own functions do. NVFP4 is found of float32
values: of small float16 weights the quotient that scales the tensor would be infinite. Servers load layers of one input
as one, such as the three projections of attention, and take the largest of their global scales for all: these share
one, as llm-compressor has it (``update_fused_layer_weight_global_scales``).
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Literal

from pydantic import Field

from pipeline.backends import build as by_library
from pipeline.backends.oracle.quirks import Quirks
from pipeline.backends.protocol import Layout, Loader, Options, Packed, Packing, Scheme, Skip

if TYPE_CHECKING:
    import torch

EXTRA = "compressed-tensors"
DISTRIBUTION = "compressed-tensors"
PACKAGE = "compressed_tensors"
SKIP: Skip = {"key": "ignore", "spelling": "verbatim"}
ANY = "any device that torch runs on, with compressed-tensors; vLLM on a CUDA device"
REFUSES = {"diffusers": "diffusers reads no compressed-tensors"}


class Grouped(Options):
    """Options of w4a16."""

    group_size: Literal[32, 64, 128] = Field(default=128, description="Weights of a row that share a scale.")


SCHEMES = {
    "fp8-dynamic": Scheme(
        "8-bit floats (e4m3) with one scale a row, activations quantized as they come",
        ANY,
        28.5,
        refuses=REFUSES,
        activations="dynamic",
    ),
    "w4a16": Scheme("4-bit integers in groups", ANY, 19.2, Grouped, refuses=REFUSES),
    "nvfp4a16": Scheme("4-bit floats in blocks of 16", ANY, 20.4, refuses=REFUSES, multiple=16),
}
LOADERS = {
    "transformers": Loader(
        how="transformers' from_pretrained, which unpacks the weights at the first call; vLLM, which computes with the"
        " codes, was not run",
    )
}
STORED: Final = {"bfloat16": "BF16", "float16": "F16", "float32": "F32"}
FORMATS: Final = {"fp8-dynamic": "float-quantized", "w4a16": "pack-quantized", "nvfp4a16": "nvfp4-pack-quantized"}
FLOAT8: Final = {"num_bits": 8, "type": "float"}
WEIGHTS: Final[dict[str, dict[str, Any]]] = {
    "fp8-dynamic": {**FLOAT8, "strategy": "channel"},
    "w4a16": {"num_bits": 4, "type": "int", "strategy": "group"},
    "nvfp4a16": {
        "num_bits": 4,
        "type": "float",
        "strategy": "tensor_group",
        "group_size": 16,
        "scale_dtype": "torch.float8_e4m3fn",
    },
}
ACTIVATIONS: Final = {"fp8-dynamic": {**FLOAT8, "strategy": "token", "dynamic": True}}

build = partial(by_library.build, worker="pipeline.backends.compressed_tensors.worker")


def configuration(scheme: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the ``quantization_config`` of such a checkpoint, in which every Linear layer is quantized."""
    group = {
        "targets": ["Linear"],
        "weights": {**WEIGHTS[scheme], **options},
        "input_activations": ACTIVATIONS.get(scheme),
        "format": FORMATS[scheme],
    }
    return {
        "quant_method": "compressed-tensors",
        "format": FORMATS[scheme],
        "quantization_status": "compressed",
        "config_groups": {"group_0": group},
        "ignore": [],
    }


def divided_by(settings: Mapping[str, Any]) -> int:
    """Return what the rows of a configuration's weights must be multiples of."""
    (group,) = settings["config_groups"].values()
    return int(group["weights"].get("group_size", 1))


def quirks() -> Quirks:
    """Return how transformers is asked, which quantizes nothing so itself."""
    from pipeline.backends.compressed_tensors import library

    return library.QUIRKS


def layout(scheme: str, options: Mapping[str, Any], name: str, shape: tuple[int, ...], dtype: str) -> Layout:
    """Return the tensors of a weight: codes and scales."""
    rows, columns = shape
    if scheme == "fp8-dynamic":
        return {name: ("F8_E4M3", shape), f"{name}_scale": (STORED[dtype], (rows, 1))}
    if scheme == "nvfp4a16":
        return {
            f"{name}_packed": ("U8", (rows, columns // 2)),
            f"{name}_scale": ("F8_E4M3", (rows, columns // 16)),
            f"{name}_global_scale": ("F32", (1,)),
        }
    return {
        f"{name}_packed": ("I32", (rows, columns // 8)),
        f"{name}_scale": (STORED[dtype], (rows, columns // options["group_size"])),
        f"{name}_shape": ("I64", (2,)),
    }


def pack(scheme: str, options: Mapping[str, Any], name: str, weight: torch.Tensor) -> Packed:
    """Quantize one weight with the library's own functions, by the smallest and the largest value of rows or groups."""
    from compressed_tensors.compressors import BaseCompressor
    from compressed_tensors.quantization import QuantizationScheme

    (group,) = configuration(scheme, options)["config_groups"].values()
    settings = QuantizationScheme.model_validate(group)
    compressor = BaseCompressor.get_value_from_registry(FORMATS[scheme])
    made = compressor.compress({"weight": weight, **scales_of(weight, settings.weights)}, settings)
    return Packed({f"{name.removesuffix('weight')}{key}": value for key, value in made.items()})


def scales_of(weight: torch.Tensor, settings: Any, whole: torch.Tensor | None = None) -> dict[str, torch.Tensor]:
    """Return the scales of a weight by their names in a layer.

    Args:
        weight: The weight.
        settings: The library's settings.
        whole: What the weight shares the scale of a whole tensor with, the weight among it; itself where left out.
    """
    from compressed_tensors.quantization.utils import calculate_qparams, generate_gparam

    size, found = settings.group_size, {}
    if settings.strategy == "tensor_group":
        weight = weight.float()
        ends = (weight if whole is None else whole.float()).aminmax()
        found["weight_global_scale"] = generate_gparam(ends.min, ends.max)
    groups, keep = (weight.unflatten(-1, (-1, size)), False) if size else (weight, True)
    least, most = groups.amin(-1, keepdim=keep), groups.amax(-1, keepdim=keep)
    scale, _ = calculate_qparams(least, most, settings, global_scale=found.get("weight_global_scale"))
    return {**found, "weight_scale": scale}


def packing(scheme: str, options: Mapping[str, Any], name: str, shape: tuple[int, ...], dtype: str) -> Packing | None:
    """Return our own packing of a weight; there is none of rows that are no whole groups: the library refuses them."""
    from pipeline.backends.compressed_tensors.packings import Float8Rows, Fours, Int4Groups

    if shape[1] % divided_by(configuration(scheme, options)):
        return None
    if scheme == "fp8-dynamic":
        return Float8Rows(name, shape, dtype)
    return Fours(name, shape, dtype) if scheme == "nvfp4a16" else Int4Groups(options, name, shape, dtype)


def describe(scheme: str, options: Mapping[str, Any], name: str, shape: tuple[int, ...], dtype: str) -> str | None:
    """Return nothing: the header does not say that a weight is quantized."""


def metadata(scheme: str, class_name: str, parameters: list[str], packed: Mapping[str, str]) -> dict[str, str]:  # noqa: ARG001
    """Return the header's metadata, which says nothing of the quantization."""
    return {"format": "pt"}

"""torchao: int8 and float8 rows, weight-only or with dynamic activations; int4 groups on CUDA devices.

The configurations are the second version of torchao's (0.15 and later); checkpoints of the first no longer load.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from pipeline.backends import build as by_library
from pipeline.backends.oracle.quirks import Quirks
from pipeline.backends.protocol import Layout, Loader, Options, Packed, Packing, Scheme, Skip

if TYPE_CHECKING:
    import torch

EXTRA = "torchao"
DISTRIBUTION = "torchao"
PACKAGE = "torchao"
SKIP: Skip = {"key": "modules_to_not_convert", "spelling": "parameter"}
PER_ROW = {"_type": "PerRow", "_version": 1, "_data": {"dim": -1}}


class Grouped(Options):
    """Options of int4-weight-only."""

    group_size: Literal[32, 64, 128, 256] = Field(default=128, description="Weights of a row that share a scale.")


ANY = "any device that torch runs on, with torchao 0.16 or later"
SCHEMES = {
    "int8-weight-only": Scheme("8-bit integers with one scale a row", ANY, 41.6),
    "int8-dynamic": Scheme(
        "8-bit integers with one scale a row, activations quantized as they come", ANY, 38.6, activations="dynamic"
    ),
    "float8-weight-only": Scheme("8-bit floats (e4m3) with one scale a row", ANY, 31.5),
    "int4-weight-only": Scheme(
        "4-bit integers in groups, packed for tensor cores",
        "a CUDA device of capability 8.0",
        20.0,  # in groups of 128, reckoned as its kernel for CUDA devices does
        Grouped,
        makes_on="cuda",
        capability=8.0,
    ),
    "float8-dynamic": Scheme(
        "8-bit floats (e4m3), activations too",
        "a CUDA device of capability 8.9",
        28.5,
        makes_on="cuda",
        activations="dynamic",
        capability=8.9,
    ),
}
LOADERS = {"diffusers": Loader(), "transformers": Loader()}
# How int8-dynamic quantizes activations, as torchao writes it.
ACTIVATIONS = {
    "_type": "QuantizeTensorToInt8Kwargs",
    "_data": {
        "granularity": {"_type": "PerRow", "_data": {"dim": -1}},
        "mapping_type": {"_type": "MappingType", "_data": "SYMMETRIC"},
        "reduce_range": False,
    },
}
CONFIGS: dict[str, tuple[str, dict[str, Any]]] = {
    "int8-weight-only": ("Int8WeightOnlyConfig", {}),
    "int8-dynamic": ("Int8DynamicActivationInt8WeightConfig", {}),
    "float8-weight-only": ("Float8WeightOnlyConfig", {}),
    "int4-weight-only": (
        "Int4WeightOnlyConfig",
        {"int4_packing_format": {"_type": "Int4PackingFormat", "_data": "TILE_PACKED_TO_4D"}},
    ),
    "float8-dynamic": ("Float8DynamicActivationFloat8WeightConfig", {"granularity": [PER_ROW, PER_ROW]}),
}

build = by_library.build


def configuration(scheme: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of a ``TorchAoConfig``."""
    name, data = CONFIGS[scheme]
    quant_type = {"_type": name, "_version": 2, "_data": {**data, **options}}
    return {"quant_method": "torchao", "quant_type": {"default": quant_type}}


def quirks() -> Quirks:
    """Return what torchao does beside what its quantizers say."""
    from pipeline.backends.torchao import library

    return library.QUIRKS


def layout(scheme: str, options: Mapping[str, Any], name: str, shape: tuple[int, ...], dtype: str) -> Layout:  # noqa: ARG001
    """Return the tensors of a weight, as torchao flattens its tensor subclasses."""
    rows, columns = shape
    part = f"{name.removesuffix('weight')}_weight_"
    if scheme == "int4-weight-only":
        rows, columns = -(-rows // 8) * 8, -(-columns // 1024) * 1024
        return {
            f"{part}qdata": ("I32", (rows // 8, columns // 128, 32, 4)),
            f"{part}scale_and_zero": ("BF16", (columns // options["group_size"], rows, 2)),
        }
    scale: Layout = {f"{part}scale": ("F32", (rows, 1))}
    if scheme.startswith("float8"):
        return {f"{part}qdata": ("F8_E4M3", shape), **scale}
    return {f"{part}qdata": ("I8", shape), **scale, f"{part}zero_point": ("I8", (rows, 1))}


def pack(scheme: str, options: Mapping[str, Any], name: str, weight: torch.Tensor) -> Packed:
    """Quantize one weight with ``quantize_`` on a lone Linear, as both libraries' quantizers do."""
    import torch
    from torchao.core.config import config_from_dict
    from torchao.prototype.safetensors.safetensors_support import flatten_tensor_state_dict
    from torchao.quantization import quantize_

    rows, columns = weight.shape
    linear = torch.nn.Linear(columns, rows, bias=False, device="meta")
    linear.weight = torch.nn.Parameter(weight, requires_grad=False)
    quantize_(linear, config_from_dict(configuration(scheme, options)["quant_type"]["default"]))
    # torchao binds a method of the module to the module itself: a cycle that would keep each weight until a collection.
    vars(linear).pop("extra_repr", None)
    tensors, metadata = flatten_tensor_state_dict({name: linear.weight.data})
    entry = json.loads(metadata[name])
    # torchao lists these in a random order, which no reader depends on; ours are reproducible.
    entry["_tensor_data_names"] = sorted(entry["_tensor_data_names"])
    return Packed({key: value.contiguous() for key, value in tensors.items()}, json.dumps(entry))


def packing(scheme: str, options: Mapping[str, Any], name: str, shape: tuple[int, ...], dtype: str) -> Packing | None:  # noqa: ARG001
    """Return our own packing of a weight; there is none of the schemes that need a CUDA device."""
    from pipeline.backends.torchao.packings import AffineRows

    if SCHEMES[scheme].makes_on == "cuda":
        return None
    # torchao 0.18 reduces over no dimension where rows have one column, and fails; that is its to say.
    return AffineRows(scheme, name, shape) if shape[1] > 1 or shape[0] == 1 else None


def describe(scheme: str, options: Mapping[str, Any], name: str, shape: tuple[int, ...], dtype: str) -> str | None:  # noqa: ARG001
    """Return the entry of a weight in the header: the type of its tensor subclass and what it is rebuilt from."""
    entry: dict[str, Any] = {
        "block_size": [1, shape[1]],
        "dtype": {"_type": "torch.dtype", "_data": dtype},
    }
    if scheme == "float8-weight-only":
        preference = {"_type": "KernelPreference", "_data": "AUTO"}
        parts = {"block_size": entry["block_size"], "mm_config": None, "act_quant_kwargs": None}
        entry = {**parts, "kernel_preference": preference, "dtype": entry["dtype"]}
        return json.dumps({"_type": "Float8Tensor", "_data": entry, "_tensor_data_names": ["qdata", "scale"]})
    if SCHEMES[scheme].makes_on == "cuda":
        return None
    activations = ACTIVATIONS if scheme == "int8-dynamic" else None
    entry = {"act_quant_kwargs": activations, "reduce_range": False, **entry}
    return json.dumps({"_type": "Int8Tensor", "_data": entry, "_tensor_data_names": ["qdata", "scale", "zero_point"]})


def metadata(scheme: str, class_name: str, parameters: list[str], packed: Mapping[str, str]) -> dict[str, str]:  # noqa: ARG001
    """Return the header's metadata: one entry a parameter, plain ones included, and the list of all names."""
    plain = json.dumps({"_type": "Tensor"})
    entries = {name: packed.get(name, plain) for name in parameters}
    return {"format": "pt", "tensor_names": json.dumps(parameters), **entries}

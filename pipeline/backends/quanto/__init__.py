"""optimum-quanto: int8 and float8 rows, int4 and int2 groups of up to 128 with a scale and a shift.

quanto is in maintenance mode and diffusers will drop it in 1.0.0; nothing outside this folder knows it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pipeline.backends import build as by_library
from pipeline.backends.oracle.quirks import Quirks
from pipeline.backends.protocol import Layout, Loader, Packed, Packing, Scheme, Skip
from pipeline.backends.quanto.grouping import BITS, group_size, through_midpoint

if TYPE_CHECKING:
    import torch

EXTRA = "quanto"
DISTRIBUTION = "optimum-quanto"
PACKAGE = "optimum.quanto"
SKIP: Skip = {"key": "modules_to_not_convert", "spelling": "leaf"}
STORED = {"bfloat16": "BF16", "float16": "F16", "float32": "F32"}

REFUSES = {"transformers": "transformers cannot save what quanto quantized (it is 'not serializable')"}
ENDS = (
    "quanto is deprecated upstream: its library is only maintained, and diffusers drops it in 1.0.0. "
    "torchao has int8 and float8, bitsandbytes 4 bits."
)
RUNS_ON = "any device that torch runs on; optimum-quanto must be installed, and diffusers drops it in 1.0.0"
SCHEMES = {
    "int8": Scheme("8-bit integers with one scale a row", RUNS_ON, 41.2, refuses=REFUSES, ends=ENDS),
    "int4": Scheme(
        "4-bit integers in groups of up to 128 with scale and shift", RUNS_ON, 20.0, refuses=REFUSES, ends=ENDS
    ),
    "int2": Scheme(
        "2-bit integers in groups of up to 128 with scale and shift", RUNS_ON, 6.0, refuses=REFUSES, ends=ENDS
    ),
    "float8": Scheme("8-bit floats (e4m3) with one scale a row", RUNS_ON, 31.5, refuses=REFUSES, ends=ENDS),
}
LOADERS = {"diffusers": Loader()}

build = by_library.build


def configuration(scheme: str, options: Mapping[str, Any]) -> dict[str, Any]:  # noqa: ARG001  part of the protocol
    """Return the fields of a ``QuantoConfig``."""
    return {"quant_method": "quanto", "weights_dtype": scheme}


def quirks() -> Quirks:
    """Return what quanto does beside what its quantizer says."""
    return Quirks(casts_float32=True)


def layout(scheme: str, options: Mapping[str, Any], name: str, shape: tuple[int, ...], dtype: str) -> Layout:  # noqa: ARG001
    """Return the tensors of a weight, as a frozen ``QLinear`` saves them."""
    rows, columns = shape
    module = name.removesuffix("weight")
    stored = STORED[dtype]
    activations: Layout = {f"{module}input_scale": (stored, ()), f"{module}output_scale": (stored, ())}
    if BITS[scheme] == 8:
        codes = "I8" if scheme == "int8" else "F8_E4M3"
        per_row = (rows, 1) if rows > 1 else ()
        return {f"{name}._data": (codes, shape), f"{name}._scale": (stored, per_row), **activations}
    group = group_size(columns)
    groups = rows * columns // group
    packed = (-(-groups * BITS[scheme] // 8), group)
    # A row that is one group alone has a scale for each column: quanto takes the other axis then.
    scales = (groups, 1) if groups > 1 else (1, columns)
    return {
        f"{name}._data._data": ("U8", packed),
        f"{name}._scale": (stored, scales),
        f"{name}._shift": (stored, scales),
        **activations,
    }


def pack(scheme: str, options: Mapping[str, Any], name: str, weight: torch.Tensor) -> Packed:  # noqa: ARG001
    """Quantize one weight with a ``QLinear`` that is frozen at once, as diffusers' quantizer does."""
    import torch
    from optimum.quanto import QLinear, qtypes

    types = {"int8": "qint8", "int4": "qint4", "int2": "qint2", "float8": "qfloat8"}
    rows, columns = weight.shape
    linear = QLinear(columns, rows, bias=False, dtype=weight.dtype, device="meta", weights=qtypes[types[scheme]])
    linear.input_scale = torch.ones((), dtype=weight.dtype)
    linear.output_scale = torch.ones((), dtype=weight.dtype)
    linear.weight = torch.nn.Parameter(weight, requires_grad=False)
    linear.freeze()
    module = name.removesuffix("weight")
    return Packed({f"{module}{part}": value.contiguous() for part, value in linear.state_dict().items()})


def packing(scheme: str, options: Mapping[str, Any], name: str, shape: tuple[int, ...], dtype: str) -> Packing | None:  # noqa: ARG001
    """Return our own packing of a weight; there is none where quanto itself fails."""
    from pipeline.backends.quanto.packings import Groups, SingleRow, WholeRows

    rows, columns = shape
    if BITS[scheme] == 8:
        return WholeRows(scheme, name, shape, dtype)
    if rows == 1 and group_size(columns) == columns:
        return SingleRow(name, columns, dtype)
    if through_midpoint(scheme, columns, dtype) and rows % 16:
        return None  # torch's int4 kernel for the CPU refuses it
    return Groups(scheme, name, shape, dtype)


def describe(scheme: str, options: Mapping[str, Any], name: str, shape: tuple[int, ...], dtype: str) -> str | None:
    """Return nothing: the header does not say that a weight is quantized."""


def metadata(scheme: str, class_name: str, parameters: list[str], packed: Mapping[str, str]) -> dict[str, str]:  # noqa: ARG001
    """Return the header's metadata, which says nothing of the quantization."""
    return {"format": "pt"}

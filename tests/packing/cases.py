"""Every scheme with a packing of ours, weights that try it, and the library's own result to compare with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from pipeline.backends import BACKENDS

NAME = "blocks.0.proj.weight"
DTYPES = ("bfloat16", "float16", "float32")
LAYOUT_OF = {
    "I8": np.int8,
    "I32": np.int32,
    "I64": np.int64,
    "U8": np.uint8,
    "F8_E4M3": np.uint8,
    "BF16": np.uint16,
    "F16": np.float16,
    "F32": np.float32,
}


@dataclass(frozen=True)
class Case:
    """A scheme with its options."""

    backend: str
    scheme: str
    options: tuple[tuple[str, Any], ...] = ()

    def __str__(self) -> str:
        return "-".join([self.backend, self.scheme, *(name for name, value in self.options if value is True)])

    def filled(self) -> dict[str, Any]:
        """Return all options, defaults included."""
        options: dict[str, Any] = BACKENDS[self.backend].SCHEMES[self.scheme].options(**dict(self.options)).model_dump()
        return options | ({"inputs": {NAME.removesuffix(".weight"): 3.25}} if "samples" in options else {})

    def call(self, function: str, weight: torch.Tensor) -> Any:
        """Call a function of the backend that is told of a weight and does not see it."""
        dtype = str(weight.dtype).removeprefix("torch.")
        return getattr(BACKENDS[self.backend], function)(self.scheme, self.filled(), NAME, tuple(weight.shape), dtype)


CASES = [
    *(
        Case("bitsandbytes", scheme, (("double_quant", nested),))
        for scheme in ("nf4", "fp4")
        for nested in (False, True)
    ),
    Case("bitsandbytes", "int8"),
    *(Case("torchao", scheme) for scheme in ("int8-weight-only", "int8-dynamic", "float8-weight-only")),
    *(Case("quanto", scheme) for scheme in ("int8", "float8", "int4", "int2")),
    *(Case("comfy", scheme) for scheme in ("int8", "int8-convrot", "fp8", "mxfp8", "nvfp4")),
    *(Case("bfl", scheme) for scheme in ("fp8", "nvfp4")),
    *(Case("compressed-tensors", scheme) for scheme in ("fp8-dynamic", "w4a16", "nvfp4a16")),
]


@dataclass(frozen=True)
class Result:
    """A weight as it is stored, and the error that was counted."""

    tensors: Mapping[str, NDArray[Any]]
    noise: float
    signal: float


def by_library(case: Case, weight: torch.Tensor) -> dict[str, torch.Tensor]:
    """Return what the library stores."""
    return dict(BACKENDS[case.backend].pack(case.scheme, case.filled(), NAME, weight.clone()).tensors)


def as_values(weight: torch.Tensor) -> NDArray[Any]:
    """Return a weight as packings take it."""
    flat = weight.reshape(-1)
    values: NDArray[Any] = (flat.view(torch.uint16) if weight.dtype == torch.bfloat16 else flat).numpy()
    return values


def by_us(case: Case, weight: torch.Tensor, cuts: list[int] | None = None, turned: bool = False) -> Result | None:
    """Return what our packing stores, of pieces cut at multiples of its unit, in their order or the other way round."""
    packing = case.call("packing", weight)
    if packing is None:
        return None
    values = as_values(weight)
    inner = {cut * packing.unit for cut in cuts or []}
    ends = sorted({0, values.size} | {cut for cut in inner if 0 < cut < values.size})
    pieces = [slice(first, end) for first, end in pairwise(ends)]
    parts = [
        part for piece in (pieces[::-1] if turned else pieces) for part in packing.pack(piece.start, values[piece])
    ]
    streamed: dict[str, list[tuple[int, NDArray[Any]]]] = {}
    for name, place, content in parts:
        streamed.setdefault(name, []).append((place, content))
    tensors = {name: joined(sorted(found, key=lambda part: part[0])) for name, found in streamed.items()}
    done = packing.finish()
    return Result({**tensors, **done.tensors}, done.noise, done.signal)


def joined(parts: list[tuple[int, NDArray[Any]]]) -> NDArray[Any]:
    """Return the content of parts that follow each other without gaps."""
    place = 0
    for begin, content in parts:
        assert begin == place
        place += content.nbytes
    return np.concatenate([content for _, content in parts])


def as_bytes(content: NDArray[Any] | torch.Tensor) -> bytes:
    """Return the bytes of an array or a tensor."""
    if isinstance(content, torch.Tensor):
        content = content.contiguous().reshape(-1).view(torch.uint8).numpy()
    return content.tobytes()


def assert_equal(case: Case, weight: torch.Tensor, result: Result) -> None:
    """Compare with the library's result, byte for byte, and with the layout."""
    wanted = by_library(case, weight)
    assert set(result.tensors) == set(wanted)
    if case.backend in {"comfy", "bfl"} and np.isnan(result.noise):  # refused: only that it cannot be read is told
        floats = [value.float() for value in wanted.values() if value.is_floating_point()]
        assert not all(value.isfinite().all() for value in floats)
        return
    assert {name for name, value in wanted.items() if as_bytes(result.tensors[name]) != as_bytes(value)} == set()
    layout = case.call("layout", weight)
    assert list(layout) == list(result.tensors)
    for name, (stored, shape) in layout.items():
        assert LAYOUT_OF[stored] == result.tensors[name].dtype, name
        assert shape in (None, tuple(wanted[name].shape)), name

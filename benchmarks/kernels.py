"""Measures packings against the functions of their libraries, on one matrix, in alternation; prints JSON.

A packing is fed in pieces as a stream feeds it, and torch has one thread. What counts is the processors' time, so that
others on the machine do not. A process of its own, since it imports torch.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from statistics import median
from typing import Any, Final

import torch
from comfy_kitchen.tensor import (
    TensorCoreFP8Layout,
    TensorCoreMXFP8Layout,
    TensorCoreNVFP4Layout,
    TensorWiseINT8Layout,
)

from pipeline.backends import bfl, comfy, compressed_tensors
from pipeline.quantize.stream import keep_freed_memory
from pipeline.source.disk import BLOCK

SHAPE: Final = (3072, 3072)  # of FLUX.1-dev
PAIRS: Final = 5
COMPRESSED: Final = {
    scheme: known.options().model_dump(mode="json") for scheme, known in compressed_tensors.SCHEMES.items()
}


def int8(weight: torch.Tensor, *, rotated: bool) -> Any:
    """Quantize as ComfyUI's layout does float32."""
    return TensorWiseINT8Layout.quantize(weight.float(), per_channel=True, convrot=rotated)


CASES: Final[dict[str, tuple[Any, str, dict[str, Any], Callable[[torch.Tensor], Any]]]] = {
    "comfy int8": (comfy, "int8", {}, lambda weight: int8(weight, rotated=False)),
    "comfy int8-convrot": (comfy, "int8-convrot", {}, lambda weight: int8(weight, rotated=True)),
    "comfy fp8": (comfy, "fp8", {}, lambda weight: TensorCoreFP8Layout.quantize(weight.float())),
    "comfy mxfp8": (comfy, "mxfp8", {}, lambda weight: TensorCoreMXFP8Layout.quantize(weight.float())),
    "comfy nvfp4": (comfy, "nvfp4", {}, lambda weight: TensorCoreNVFP4Layout.quantize(weight.float())),
    "bfl fp8": (bfl, "fp8", {}, lambda weight: bfl.pack("fp8", {}, "weight", weight)),
    "bfl nvfp4": (bfl, "nvfp4", {}, lambda weight: bfl.pack("nvfp4", {}, "weight", weight)),
    **{
        f"compressed-tensors {scheme}": (
            compressed_tensors,
            scheme,
            options,
            lambda weight, scheme=scheme, options=options: compressed_tensors.pack(scheme, options, "weight", weight),
        )
        for scheme, options in COMPRESSED.items()
    },
}


def by_us(module: Any, scheme: str, options: dict[str, Any], weight: torch.Tensor) -> None:
    """Pack a weight in pieces of whole rows."""
    packing = module.packing(scheme, options, "weight", SHAPE, "bfloat16")
    values = weight.reshape(-1).view(torch.uint16).numpy()
    step = BLOCK // 2 // SHAPE[1] * SHAPE[1]
    for first in range(0, values.size, step):
        packing.pack(first, values[first : first + step])
    packing.finish()


def seconds(call: Callable[[], Any]) -> float:
    """Return the processors' time of a call."""
    began = time.process_time()
    call()
    return time.process_time() - began


def main() -> None:
    """Measure every case and print what was seen."""
    torch.set_num_threads(1)
    keep_freed_memory()
    weight = (torch.randn(SHAPE, generator=torch.Generator().manual_seed(0)) * 0.02).bfloat16()
    found = {}
    for name, (module, scheme, options, library) in CASES.items():

        def ours(module: Any = module, scheme: str = scheme, options: dict[str, Any] = options) -> None:
            by_us(module, scheme, options, weight)

        ours()
        library(weight)
        pairs = [(seconds(ours), seconds(lambda library=library: library(weight))) for _ in range(PAIRS)]
        millions = weight.numel() / 1e6
        found[name] = {
            "ours": round(millions / median(one for one, _ in pairs)),
            "other": round(millions / median(other for _, other in pairs)),
            "ratios": [round(other / one, 1) for one, other in pairs],
        }
    print(json.dumps({"packings": found}))


if __name__ == "__main__":
    main()

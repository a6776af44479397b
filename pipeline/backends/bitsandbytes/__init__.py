"""bitsandbytes: 4-bit codes in blocks of 64 with float32 or doubly quantized absmax, and int8 rows (LLM.int8)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from pipeline.backends import build as by_library
from pipeline.backends.bitsandbytes.quant_state import BLOCK, NESTED_BLOCK, state
from pipeline.backends.oracle.quirks import Quirks
from pipeline.backends.protocol import Layout, Loader, Options, Packed, Packing, Scheme, Skip

if TYPE_CHECKING:
    import torch

EXTRA = "bitsandbytes"
DISTRIBUTION = "bitsandbytes"
PACKAGE = "bitsandbytes"
SKIP: Skip = {"key": "llm_int8_skip_modules", "spelling": "module"}


class FourBit(Options):
    """Options of nf4 and fp4."""

    double_quant: bool = Field(default=False, description="Quantize the absmax values too: 0.4 bits less a weight.")
    compute_dtype: Literal["bfloat16", "float16", "float32"] = Field(
        default="bfloat16", description="The dtype that matrix products run in after loading."
    )


class EightBit(Options):
    """Options of int8."""

    threshold: float = Field(default=6.0, ge=0, description="Activations above it run in 16 bits.")


RUNS_ON = (
    "a CUDA, XPU or MPS device where diffusers loads it, which refuses bitsandbytes on a CPU; transformers does not"
)
SCHEMES = {
    "nf4": Scheme("4-bit NormalFloat codes in blocks of 64", RUNS_ON, 20.7, FourBit),
    "fp4": Scheme("4-bit float codes in blocks of 64", RUNS_ON, 18.3, FourBit),
    "int8": Scheme("8-bit integers with one scale a row (LLM.int8)", RUNS_ON, 38.6, EightBit, activations="dynamic"),
}
GPUS = ("cuda", "mps", "xpu")
LOADERS = {
    "diffusers": Loader(devices=GPUS, lift="pipeline.backends.bitsandbytes.library:DIFFUSERS_ON_CPU", onto_gpu=True),
    "transformers": Loader(lift="pipeline.backends.bitsandbytes.library:TRANSFORMERS_ON_CPU", onto_gpu=True),
}

build = by_library.build


def configuration(scheme: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of a ``BitsAndBytesConfig``."""
    if scheme == "int8":
        return {"quant_method": "bitsandbytes", "load_in_8bit": True, "llm_int8_threshold": options["threshold"]}
    return {
        "quant_method": "bitsandbytes",
        "load_in_4bit": True,
        "bnb_4bit_quant_type": scheme,
        "bnb_4bit_use_double_quant": options["double_quant"],
        "bnb_4bit_compute_dtype": options["compute_dtype"],
    }


def quirks() -> Quirks:
    """Return what bitsandbytes does beside what its quantizers say."""
    from pipeline.backends.bitsandbytes import library

    return library.QUIRKS


def layout(scheme: str, options: Mapping[str, Any], name: str, shape: tuple[int, ...], dtype: str) -> Layout:
    """Return the tensors of a weight, as ``Linear4bit`` and ``Linear8bitLt`` save them."""
    rows, columns = shape
    if scheme == "int8":
        module = name.removesuffix("weight")
        return {name: ("I8", shape), f"{module}SCB": ("F32", (rows,)), f"{module}weight_format": ("U8", ())}
    blocks = -(-rows * columns // BLOCK)
    nested = options["double_quant"]  # then the state holds a number that only the weight tells, of any length
    said = None if nested else (len(json.dumps(state(scheme, shape, dtype))),)
    tensors: Layout = {
        name: ("U8", ((rows * columns + 1) // 2, 1)),
        f"{name}.absmax": ("U8" if nested else "F32", (blocks,)),
        f"{name}.quant_map": ("F32", (16,)),
        f"{name}.quant_state.bitsandbytes__{scheme}": ("U8", said),
    }
    if nested:
        tensors[f"{name}.nested_absmax"] = ("F32", (-(-blocks // NESTED_BLOCK),))
        tensors[f"{name}.nested_quant_map"] = ("F32", (256,))
    return tensors


def pack(scheme: str, options: Mapping[str, Any], name: str, weight: torch.Tensor) -> Packed:
    """Quantize one weight as ``Params4bit`` and ``Int8Params`` do on the way to a device."""
    import bitsandbytes.functional as bnb
    import torch

    if scheme == "int8":
        codes, scales, _ = bnb.int8_vectorwise_quant(weight.to(torch.float16))
        module = name.removesuffix("weight")
        row_major = torch.tensor(0, dtype=torch.uint8)
        return Packed({name: codes, f"{module}SCB": scales, f"{module}weight_format": row_major})
    codes, state = bnb.quantize_4bit(
        weight.contiguous(),
        blocksize=BLOCK,
        compress_statistics=options["double_quant"],
        quant_type=scheme,
        quant_storage=torch.uint8,
    )
    statistics = {f"{name}.{part}": value for part, value in state.as_dict(packed=True).items()}
    return Packed({name: codes, **statistics})


def packing(scheme: str, options: Mapping[str, Any], name: str, shape: tuple[int, ...], dtype: str) -> Packing | None:
    """Return our own packing of a weight."""
    from pipeline.backends.bitsandbytes.packings import Blocks, Int8

    return Int8(name, shape) if scheme == "int8" else Blocks(scheme, options, name, shape, dtype)


def describe(scheme: str, options: Mapping[str, Any], name: str, shape: tuple[int, ...], dtype: str) -> str | None:
    """Return nothing: the header does not say that a weight is quantized."""


def metadata(scheme: str, class_name: str, parameters: list[str], packed: Mapping[str, str]) -> dict[str, str]:  # noqa: ARG001
    """Return the header's metadata, which says nothing of the quantization."""
    return {"format": "pt"}

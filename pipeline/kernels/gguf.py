"""The types of GGUF: blocks of weights, each for itself, that ggml packs and unpacks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from pipeline.kernels.ggml import TYPES

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[Any]

CHUNK: Final = 1 << 16  # values that are widened together, so that they are still in the processor's cache


@dataclass(frozen=True)
class Kernels:
    """What packs and unpacks a type.

    Attributes:
        room: The module here that has its kernels.
        name: What these are called behind ``encode_`` and ``decode_``.
        bits: What they are told beside, where they are those of several types.
    """

    room: str
    name: str
    bits: tuple[int, ...] = ()

    def both(self) -> tuple[Callable[..., None], Callable[..., None]]:
        """Return what encodes, and what decodes."""
        room = import_module(f"pipeline.kernels.{self.room}")
        return getattr(room, f"encode_{self.name}"), getattr(room, f"decode_{self.name}")


PACKED: Final = {
    "Q4_0": Kernels("gguf_plain", "signed", (4,)),
    "Q4_1": Kernels("gguf_plain", "shifted", (4,)),
    "Q5_0": Kernels("gguf_plain", "signed", (5,)),
    "Q5_1": Kernels("gguf_plain", "shifted", (5,)),
    "Q8_0": Kernels("gguf_plain", "q8_0"),
    "Q2_K": Kernels("gguf_steps", "steps", (2,)),
    "Q3_K": Kernels("gguf_scales", "q3_k"),
    "Q4_K": Kernels("gguf_steps", "steps", (4,)),
    "Q5_K": Kernels("gguf_steps", "steps", (5,)),
    "Q6_K": Kernels("gguf_scales", "q6_k"),
    "IQ4_NL": Kernels("gguf_levels", "iq4_nl"),
    "IQ4_XS": Kernels("gguf_levels", "iq4_xs"),
    "BF16": Kernels("gguf_plain", "bf16"),
}
"""The types that are packed here."""


def encode(name: str, values: Array) -> tuple[Array, float, float]:
    """Pack values into blocks.

    Args:
        name: The type.
        values: One-dimensional and finite, in whole blocks: float32, float16, or bfloat16 as its bits (uint16).

    Returns:
        The blocks as bytes, which are those of ggml's ``ggml_quantize_chunk`` without an importance matrix; the squared
        errors that they make, and the squared values, both summed.
    """
    from pipeline.kernels.formats import as_bits
    from pipeline.kernels.gguf_plain import widen_all

    kind, kernels = TYPES[name], PACKED[name]
    blocks, sums = np.empty(values.size // kind.block * kind.size, np.uint8), np.zeros(8)
    encode_blocks, _ = kernels.both()
    buffer = np.empty(min(values.size, CHUNK), np.float32)
    for first in range(0, values.size, CHUNK):
        wide = chunk = as_bits(values[first : first + CHUNK])
        # A kernel is compiled once more for arrays that cannot be written, such as those of a mapped file.
        if chunk.dtype != np.float32 or not chunk.flags.writeable:
            wide = buffer[: chunk.size]
            widen_all(chunk, wide)
        at = first // kind.block * kind.size
        encode_blocks(wide, *kernels.bits, blocks[at : at + chunk.size // kind.block * kind.size], sums)
    return blocks, float(sums[:4].sum()), float(sums[4:].sum())


def decode(name: str, blocks: Array) -> Array:
    """Return the float32 that blocks stand for, as ggml and gguf-py unpack them.

    Args:
        name: The type.
        blocks: Whole blocks, as one-dimensional bytes.
    """
    kind, kernels = TYPES[name], PACKED[name]
    values = np.empty(blocks.size // kind.size * kind.block, np.float32)
    _, decode_blocks = kernels.both()
    for first in range(0, values.size, CHUNK):
        at, end = (place // kind.block * kind.size for place in (first, min(first + CHUNK, values.size)))
        decode_blocks(np.require(blocks[at:end], requirements="W"), *kernels.bits, values[first : first + CHUNK])
    return values

"""The types of GGUF: blocks of weights, each for itself, that ggml packs and unpacks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[Any]

CHUNK: Final = 1 << 16  # values that are widened together, so that they are still in the processor's cache


@dataclass(frozen=True)
class BlockType:
    """A type of ggml.

    Attributes:
        number: What a file calls it by.
        block: The values of a block.
        size: The bytes of a block.
        room: The module here that has its kernels.
        kernel: What these are called behind ``encode_`` and ``decode_``.
        bits: What they are told beside, where they are those of several types.
    """

    number: int
    block: int
    size: int
    room: str
    kernel: str
    bits: tuple[int, ...] = ()

    def kernels(self) -> tuple[Callable[..., None], Callable[..., None]]:
        """Return what encodes, and what decodes."""
        room = import_module(f"pipeline.kernels.{self.room}")
        return getattr(room, f"encode_{self.kernel}"), getattr(room, f"decode_{self.kernel}")


TYPES: Final = {
    "Q4_0": BlockType(2, 32, 18, "gguf_plain", "signed", (4,)),
    "Q4_1": BlockType(3, 32, 20, "gguf_plain", "shifted", (4,)),
    "Q5_0": BlockType(6, 32, 22, "gguf_plain", "signed", (5,)),
    "Q5_1": BlockType(7, 32, 24, "gguf_plain", "shifted", (5,)),
    "Q8_0": BlockType(8, 32, 34, "gguf_plain", "q8_0"),
    "Q2_K": BlockType(10, 256, 84, "gguf_steps", "steps", (2,)),
    "Q3_K": BlockType(11, 256, 110, "gguf_scales", "q3_k"),
    "Q4_K": BlockType(12, 256, 144, "gguf_steps", "steps", (4,)),
    "Q5_K": BlockType(13, 256, 176, "gguf_steps", "steps", (5,)),
    "Q6_K": BlockType(14, 256, 210, "gguf_scales", "q6_k"),
    "IQ4_NL": BlockType(20, 32, 18, "gguf_levels", "iq4_nl"),
    "IQ4_XS": BlockType(23, 256, 136, "gguf_levels", "iq4_xs"),
    "BF16": BlockType(30, 1, 2, "gguf_plain", "bf16"),
}
"""By the names that ggml has for them."""


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

    kind = TYPES[name]
    blocks, sums = np.empty(values.size // kind.block * kind.size, np.uint8), np.zeros(8)
    encode_blocks, _ = kind.kernels()
    buffer = np.empty(min(values.size, CHUNK), np.float32)
    for first in range(0, values.size, CHUNK):
        wide = chunk = as_bits(values[first : first + CHUNK])
        # A kernel is compiled once more for arrays that cannot be written, such as those of a mapped file.
        if chunk.dtype != np.float32 or not chunk.flags.writeable:
            wide = buffer[: chunk.size]
            widen_all(chunk, wide)
        at = first // kind.block * kind.size
        encode_blocks(wide, *kind.bits, blocks[at : at + chunk.size // kind.block * kind.size], sums)
    return blocks, float(sums[:4].sum()), float(sums[4:].sum())


def decode(name: str, blocks: Array) -> Array:
    """Return the float32 that blocks stand for, as ggml and gguf-py unpack them.

    Args:
        name: The type.
        blocks: Whole blocks, as one-dimensional bytes.
    """
    kind = TYPES[name]
    values = np.empty(blocks.size // kind.size * kind.block, np.float32)
    _, decode_blocks = kind.kernels()
    for first in range(0, values.size, CHUNK):
        at, end = (place // kind.block * kind.size for place in (first, min(first + CHUNK, values.size)))
        decode_blocks(np.require(blocks[at:end], requirements="W"), *kind.bits, values[first : first + CHUNK])
    return values

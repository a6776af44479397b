"""Values of ggml's blocks, as its ``dequantize_row`` functions give them."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Final

import numpy as np

from pipeline.lint.decoding import float8_levels
from pipeline.lint.formats.protocol import Bytes, Decode, Floats, Held

if TYPE_CHECKING:
    from numpy.typing import NDArray

# The levels of IQ4_NL: ``kvalues_iq4nl`` of ggml.
IQ4: Final = (-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113)
# Those of E2M1 in halves, as ggml counts them.
DOUBLED: Final = (0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12)
LOW, HIGH = np.uint8(0x0F), np.uint8(4)


def half(blocks: Bytes, at: int) -> Floats:
    """Return the float16 at a place of each block, as a column."""
    return np.ascontiguousarray(blocks[:, at : at + 2]).view(np.float16).astype(np.float32)


def nibbles(codes: Bytes, width: int) -> Bytes:
    """Return codes of which the low bits of a run of bytes come before its high bits.

    Args:
        codes: Blocks of bytes.
        width: How many bytes a run has.
    """
    runs = codes.reshape(len(codes), -1, 1, width)
    return np.concatenate([runs & LOW, runs >> HIGH], axis=2).reshape(len(codes), -1)


def fifth(codes: Bytes, bits: Bytes) -> Bytes:
    """Return codes with their fifth bits, which are packed by themselves."""
    return codes | np.unpackbits(np.ascontiguousarray(bits), axis=1, bitorder="little") << HIGH


def pieces(codes: Bytes, bits: int, width: int) -> Bytes:
    """Return codes of few bits, of which the lowest ones of a run of bytes come first."""
    runs = codes.reshape(len(codes), -1, 1, width)
    shifts = np.arange(0, 8, bits, dtype=np.uint8)[:, None]
    return (runs >> shifts & np.uint8((1 << bits) - 1)).reshape(len(codes), -1)


def q8_0(blocks: Bytes) -> Floats:
    """Return values of 8-bit integers with a scale."""
    return np.ascontiguousarray(blocks[:, 2:]).view(np.int8) * half(blocks, 0)


def q4_0(blocks: Bytes) -> Floats:
    """Return values of 4 bits around 8."""
    return (nibbles(blocks[:, 2:], 16).astype(np.float32) - np.float32(8)) * half(blocks, 0)


def q4_1(blocks: Bytes) -> Floats:
    """Return values of 4 bits from a least value on."""
    return nibbles(blocks[:, 4:], 16) * half(blocks, 0) + half(blocks, 2)


def q5_0(blocks: Bytes) -> Floats:
    """Return values of 5 bits around 16."""
    codes = fifth(nibbles(blocks[:, 6:], 16), blocks[:, 2:6])
    return (codes.astype(np.float32) - np.float32(16)) * half(blocks, 0)


def q5_1(blocks: Bytes) -> Floats:
    """Return values of 5 bits from a least value on."""
    codes = fifth(nibbles(blocks[:, 8:], 16), blocks[:, 4:8])
    return codes * half(blocks, 0) + half(blocks, 2)


def six_bits(packed: Bytes) -> tuple[Bytes, Bytes]:
    """Return the eight scales and eight minima of 6 bits in 12 bytes."""
    first, second, third = packed[:, :4], packed[:, 4:8], packed[:, 8:]
    low = np.concatenate([first & 63, third & 15 | first >> 6 << 4], axis=1)
    high = np.concatenate([second & 63, third >> 4 | second >> 6 << 4], axis=1)
    return low, high


def scaled(blocks: Bytes, codes: Bytes) -> Floats:
    """Return the values of Q4_K and Q5_K: eight runs of 32 codes with a scale and a minimum each."""
    scales, minima = six_bits(blocks[:, 4:16])
    values = codes.astype(np.float32).reshape(len(blocks), 8, 32)
    values *= (half(blocks, 0) * scales)[:, :, None]
    values -= (half(blocks, 2) * minima)[:, :, None]
    return values.reshape(len(blocks), 256)


def q4_k(blocks: Bytes) -> Floats:
    """Return values of 4 bits in runs of 32."""
    return scaled(blocks, nibbles(blocks[:, 16:], 32))


def q5_k(blocks: Bytes) -> Floats:
    """Return values of 5 bits in runs of 32."""
    high = pieces(blocks[:, 16:48], 1, 32)
    return scaled(blocks, nibbles(blocks[:, 48:], 32) | high << HIGH)


def q2_k(blocks: Bytes) -> Floats:
    """Return values of 2 bits in runs of 16."""
    values = pieces(blocks[:, 16:80], 2, 32).astype(np.float32).reshape(len(blocks), 16, 16)
    values *= (half(blocks, 80) * (blocks[:, :16] & LOW))[:, :, None]
    values -= (half(blocks, 82) * (blocks[:, :16] >> HIGH))[:, :, None]
    return values.reshape(len(blocks), 256)


def q3_k(blocks: Bytes) -> Floats:
    """Return values of 3 bits in runs of 16, whose third bits are apart and count the other way."""
    low = nibbles(blocks[:, 96:104], 8)
    high = pieces(blocks[:, 104:108], 2, 4)
    scales = (low | high << HIGH).astype(np.float32) - np.float32(32)
    codes = pieces(blocks[:, 32:96], 2, 32).astype(np.float32)
    codes -= np.float32(4) * (1 - pieces(blocks[:, :32], 1, 32))
    values = codes.reshape(len(blocks), 16, 16) * (half(blocks, 108) * scales)[:, :, None]
    return values.reshape(len(blocks), 256)


def q6_k(blocks: Bytes) -> Floats:
    """Return values of 6 bits in runs of 16."""
    low, high = nibbles(blocks[:, :128], 64), pieces(blocks[:, 128:192], 2, 32)
    scales = np.ascontiguousarray(blocks[:, 192:208]).view(np.int8).astype(np.float32)
    values = (low | high << HIGH).astype(np.float32).reshape(len(blocks), 16, 16)
    values -= np.float32(32)
    values *= (half(blocks, 208) * scales)[:, :, None]
    return values.reshape(len(blocks), 256)


def iq4_nl(blocks: Bytes) -> Floats:
    """Return values of 16 levels."""
    return np.array(IQ4, np.float32)[nibbles(blocks[:, 2:], 16)] * half(blocks, 0)


def iq4_xs(blocks: Bytes) -> Floats:
    """Return values of 16 levels in runs of 32 with scales of 6 bits."""
    low = nibbles(blocks[:, 4:8].reshape(-1, 4, 1), 1).reshape(len(blocks), 8)
    high = pieces(blocks[:, 2:4], 2, 1)
    scales = (low | high << HIGH).astype(np.float32) - np.float32(32)
    values = np.array(IQ4, np.float32)[nibbles(blocks[:, 8:], 16)].reshape(len(blocks), 8, 32)
    values *= (half(blocks, 0) * scales)[:, :, None]
    return values.reshape(len(blocks), 256)


def mxfp4(blocks: Bytes) -> Floats:
    """Return values of E2M1 with a power of two."""
    scale = float8_levels("F8_E8M0")[blocks[:, :1]] * np.float32(0.5)
    return np.array(DOUBLED, np.float32)[nibbles(blocks[:, 1:], 16)] * scale


def decode(unpack: Callable[[Bytes], Floats], width: int, _first: int, codes: Bytes, _held: Held) -> Floats:
    """Return the values of whole blocks."""
    values: NDArray[np.float32] = unpack(codes.reshape(-1, width)).reshape(-1)
    return values


DECODE: Final[dict[str, Decode]] = {
    name: partial(decode, unpack, width)
    for name, unpack, width in (
        ("Q8_0", q8_0, 34), ("Q4_0", q4_0, 18), ("Q4_1", q4_1, 20), ("Q5_0", q5_0, 22), ("Q5_1", q5_1, 24),
        ("Q2_K", q2_k, 84), ("Q3_K", q3_k, 110), ("Q4_K", q4_k, 144), ("Q5_K", q5_k, 176), ("Q6_K", q6_k, 210),
        ("IQ4_NL", iq4_nl, 18), ("IQ4_XS", iq4_xs, 136), ("MXFP4", mxfp4, 17),
    )
}  # fmt: skip

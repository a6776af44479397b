"""Values of ggml's blocks, as its ``dequantize_row`` functions give them."""

from __future__ import annotations

from functools import partial
from typing import Final

import numpy as np

from pipeline.kernels import gguf
from pipeline.lint.decoding import LOW_FIRST, float8_levels, nibbles, scaled
from pipeline.lint.formats.protocol import Bytes, Decode, Floats, Held

# Those of E2M1 in halves, as ggml counts them.
DOUBLED: Final = (0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12)
MXFP4: Final = 17  # bytes of a block: an exponent, and 32 codes of which the first 16 are the low ones of the bytes


def unpacked(name: str, _first: int, codes: Bytes, _held: Held) -> Floats:
    """Return the values of blocks of a type that is written here too."""
    values: Floats = gguf.decode(name, codes)
    return values


def mxfp4(_first: int, codes: Bytes, _held: Held) -> Floats:
    """Return values of E2M1 with a power of two."""
    blocks = codes.reshape(-1, MXFP4)
    pairs = nibbles(np.ascontiguousarray(blocks[:, 1:]).reshape(-1), tuple(map(float, DOUBLED)), LOW_FIRST)
    values = np.ascontiguousarray(pairs.reshape(-1, 16, 2).transpose(0, 2, 1)).reshape(-1)
    return scaled(values, float8_levels("F8_E8M0")[blocks[:, 0]] * np.float32(0.5), 2 * (MXFP4 - 1))


DECODE: Final[dict[str, Decode]] = {name: partial(unpacked, name) for name in gguf.PACKED} | {"MXFP4": mxfp4}

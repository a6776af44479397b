"""Weights in blocks of ggml, packed in pieces: each block depends on its own values alone."""

from __future__ import annotations

from typing import Any

import gguf
import numpy as np
from numpy.typing import NDArray

from pipeline.backends.packings import SquaredErrorSums
from pipeline.backends.protocol import Finished, Part
from pipeline.source.gguf import BY_NAME

Array = NDArray[Any]


class Blocks:
    """A weight of one type."""

    def __init__(self, kind: str, name: str, dtype: str) -> None:
        """Describe the weight.

        Args:
            kind: The type, as ggml calls it.
            name: The tensor's name.
            dtype: The weight's torch dtype.
        """
        self._kind = gguf.GGMLQuantizationType[kind]
        self._name, self._dtype = name, dtype
        self.unit, self._size = BY_NAME[kind]
        self._errors = SquaredErrorSums()

    def pack(self, first: int, values: Array) -> list[Part]:
        """Quantize whole blocks."""
        wide = (values.astype(np.uint32) << 16).view(np.float32) if self._dtype == "bfloat16" else values
        wide = wide.astype(np.float32, copy=False)
        packed = gguf.quants.quantize(wide, self._kind)
        lost = gguf.quants.dequantize(packed, self._kind).astype(np.float64) - wide
        self._errors.note(first, float(np.square(lost).sum()), float(np.square(wide, dtype=np.float64).sum()))
        return [(self._name, first // self.unit * self._size, packed)]

    def finish(self) -> Finished:
        """Return nothing but the errors: all is written."""
        return self._errors.finished({})

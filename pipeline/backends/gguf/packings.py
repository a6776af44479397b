"""Weights in blocks of ggml, packed in pieces: each block depends on its own values alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pipeline.backends.packings import SquaredErrorSums
from pipeline.backends.protocol import Finished, Part
from pipeline.kernels.ggml import TYPES
from pipeline.kernels.gguf import encode

if TYPE_CHECKING:
    from numpy.typing import NDArray


class Blocks:
    """A weight of one type."""

    def __init__(self, kind: str, name: str) -> None:
        """Describe the weight.

        Args:
            kind: The type, as ggml calls it.
            name: The tensor's name.
        """
        self.unit = TYPES[kind].block
        self._kind, self._name, self._size = kind, name, TYPES[kind].size
        self._errors = SquaredErrorSums()

    def pack(self, first: int, values: NDArray[Any]) -> list[Part]:
        """Quantize whole blocks."""
        blocks, noise, signal = encode(self._kind, values)
        self._errors.note(first, noise, signal)
        return [(self._name, first // self.unit * self._size, blocks)]

    def finish(self) -> Finished:
        """Return nothing but the errors: all is written."""
        return self._errors.finished({})

"""What the packings of all backends share: memory taken when the first piece comes, sums of errors, weights by rows."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from tempfile import TemporaryFile
from threading import Lock
from typing import Any, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from pipeline.backends.protocol import Finished, Part

Array = NDArray[Any]
RowKernel = Callable[[Array, Array, Array, Array], None]
T = TypeVar("T")


NUMPY: dict[str, Any] = {"bfloat16": np.uint16, "float16": np.float16, "float32": np.float32}
"""The numpy dtype that holds the values of a torch dtype."""

LARGE = 256 << 20


def zeros(shape: tuple[int, ...]) -> Array:
    """Return bytes of zero: in memory, or where they are many in a file without a name, so that the system can page."""
    if math.prod(shape) < LARGE:
        return np.zeros(shape, np.uint8)
    with TemporaryFile() as file:
        return np.memmap(file, np.uint8, "w+", shape=shape)


class Lazy(Generic[T]):
    """What a packing needs with its first piece and not before, made by whichever thread comes first."""

    def __init__(self, make: Callable[[], T]) -> None:
        self._make = make
        self._lock = Lock()
        self._made: T | None = None

    def get(self) -> T:
        """Return it."""
        with self._lock:
            if self._made is None:
                self._made = self._make()
            return self._made


class SquaredErrorSums:
    """The squared errors and the squared values of a weight's pieces."""

    def __init__(self) -> None:
        self._pieces: dict[int, tuple[float, float]] = {}

    def note(self, first: int, noise: float, signal: float) -> None:
        """Keep the sums of the piece that begins at ``first``."""
        self._pieces[first] = noise, signal

    def finished(self, tensors: Mapping[str, Array]) -> Finished:
        """Return tensors with the sums over all pieces, in whatever order they came."""
        noise, signal = (math.fsum(sums) for sums in zip(*self._pieces.values(), strict=True))
        return Finished(tensors, noise, signal)


class Rows:
    """A weight with one scale a row, as the kernels of `pipeline.kernels.rows` make it."""

    def __init__(
        self, kernel: RowKernel, shape: tuple[int, ...], codes: tuple[str, Any], scales: tuple[str, Any]
    ) -> None:
        """Describe what comes of the weight.

        Args:
            kernel: What quantizes rows.
            shape: The weight's rows and columns.
            codes: Name and numpy dtype of the codes, which pieces return.
            scales: Name and numpy dtype of the scales.
        """
        rows, self.unit = shape
        self._kernel = kernel
        self._codes, self._code_type = codes
        self._name, scale_type = scales
        self._scales = Lazy(lambda: np.empty(rows, scale_type))
        self._errors = SquaredErrorSums()

    def pack(self, first: int, values: Array) -> list[Part]:
        """Quantize whole rows."""
        from pipeline.kernels.formats import as_bits

        row, sums = first // self.unit, np.zeros(2)
        matrix = as_bits(values).reshape(-1, self.unit)
        codes = np.empty(matrix.shape, self._code_type)
        scales = as_bits(self._scales.get()[row : row + len(matrix)])
        self._kernel(matrix, scales, codes, sums)
        self._errors.note(first, float(sums[0]), float(sums[1]))
        return [(self._codes, first, codes.reshape(-1))]

    def finish(self) -> Finished:
        """Return the scales, one-dimensional."""
        return self._errors.finished({self._name: self._scales.get()})

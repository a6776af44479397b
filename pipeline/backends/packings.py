"""What the packings of all backends share: memory taken when the first piece comes, sums of errors, weights by rows.

Some schemes begin with the largest of a weight's values. `Whole` keeps the values until the last one is there; the
source is read once all the same.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from tempfile import TemporaryFile
from threading import Lock
from typing import Any, Final, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from pipeline.backends.protocol import Finished, Part
from pipeline.worker.limits import processors

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


class Whole(ABC):
    """A weight whose scheme has one scale for all of it: its pieces are kept, and packed at the end.

    Memory holds the weight and what it becomes; of large ones the system's page cache does, see `zeros`.
    """

    CHUNK: Final = 1 << 20  # values that one thread packs at a time: a multiple of every block

    def __init__(self, shape: tuple[int, ...], dtype: str, multiple: int = 1) -> None:
        """Describe the weight.

        Args:
            shape: Its rows and columns.
            dtype: Its torch dtype.
            multiple: What its rows and columns are filled up to a multiple of, with zeros.
        """
        self.unit = shape[1]
        self.rows, self.columns = (-(-size // multiple) * multiple for size in shape)
        self._type = np.dtype(NUMPY[dtype])
        self._kept = Lazy(lambda: zeros((self.rows, self.columns * self._type.itemsize)).view(self._type))
        self._largest: dict[int, np.float32] = {}

    def pack(self, first: int, values: Array) -> list[Part]:
        """Keep whole rows; nothing is final yet."""
        from pipeline.kernels.formats import as_bits
        from pipeline.kernels.rows import absmax_of

        row, matrix = first // self.unit, values.reshape(-1, self.unit)
        self._kept.get()[row : row + len(matrix), : self.unit] = matrix
        self._largest[first] = absmax_of(as_bits(values))
        return []

    def finish(self) -> Finished:
        """Return all tensors."""
        from pipeline.kernels.formats import as_bits

        errors, values = SquaredErrorSums(), as_bits(self._kept.get()).reshape(-1)
        made = self.begin(np.float32(max(self._largest.values())))

        def encode(first: int) -> None:
            sums = np.zeros(2)
            self.encode(made, first, values[first : first + self.CHUNK], sums)
            errors.note(first, float(sums[0]), float(sums[1]))

        with ThreadPoolExecutor(processors()) as threads:
            list(threads.map(encode, range(0, values.size, self.CHUNK)))
        return errors.finished(made)

    @abstractmethod
    def begin(self, largest: np.float32) -> dict[str, Array]:
        """Return all tensors, those of codes still empty, given the largest absolute value."""

    @abstractmethod
    def encode(self, made: Mapping[str, Array], first: int, values: Array, sums: Array) -> None:
        """Fill the codes of the values from the ``first`` on; add squared errors and squared values to ``sums``."""


class Fours(Whole):
    """NVFP4, whose block scales lie row by row."""

    def __init__(self, name: str, shape: tuple[int, ...], dtype: str, *, high_first: bool, multiple: int = 1) -> None:
        """Describe the weight.

        Args:
            name: Its name, and the codes'.
            shape: Its rows and columns.
            dtype: Its torch dtype.
            high_first: Whose format it is, see `pipeline.kernels.fours`.
            multiple: What its rows and columns are filled up to a multiple of, with zeros.
        """
        super().__init__(shape, dtype, multiple)
        self._high_first = high_first
        self.codes, self.blocks, self.scale = name, f"{name}_scale", f"{name}_scale_2"

    def begin(self, largest: np.float32) -> dict[str, Array]:
        """Return codes and block scales, empty, and the scale of the tensor."""
        blocks = np.empty((self.rows, self.columns // 16), np.uint8)
        scale = np.array(largest / np.float32(448 * 6))
        return {self.codes: zeros((self.rows, self.columns // 2)), self.blocks: blocks, self.scale: scale}

    def encode(self, made: Mapping[str, Array], first: int, values: Array, sums: Array) -> None:
        """Fill codes and block scales."""
        from pipeline.kernels.fours import BFL, COMFY, pack_fours

        end, scale = first + values.size, np.float32(made[self.scale])
        codes = made[self.codes].reshape(-1)[first // 2 : end // 2]
        blocks = made[self.blocks].reshape(-1)[first // 16 : end // 16]
        pack_fours(values, scale, COMFY if self._high_first else BFL, blocks, codes, sums)

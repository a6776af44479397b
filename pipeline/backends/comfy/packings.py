"""Our own packing of ComfyUI's weights. All arithmetic is of float32, whatever the weight's dtype."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from pipeline.backends.comfy.marker import marker, rotates
from pipeline.backends.packings import Array, Fours, Lazy, Rows, SquaredErrorSums, Whole, zeros
from pipeline.backends.protocol import Finished, Packing, Part


def packing_of(scheme: str, name: str, shape: tuple[int, ...], dtype: str) -> Packing:
    """Return the packing of a weight."""
    if scheme == "fp8":
        return Float8(name, shape, dtype)
    if scheme == "nvfp4":
        return TiledFours(name, shape, dtype)
    return MicroscaledRows(name, shape, dtype) if scheme == "mxfp8" else Int8Rows(scheme, name, shape)


def marked(done: Finished, scheme: str, name: str, shape: tuple[int, ...]) -> Finished:
    """Return the tensors of a weight with the one that tells its loader what they are."""
    key = f"{name.removesuffix('weight')}comfy_quant"
    return replace(done, tensors={**done.tensors, key: np.frombuffer(marker(scheme, shape).encode(), np.uint8)})


class Int8Rows(Rows):
    """Rows of int8 with a float32 scale each, rotated or not."""

    def __init__(self, scheme: str, name: str, shape: tuple[int, ...]) -> None:
        from pipeline.kernels.hadamard import pack_convrot
        from pipeline.kernels.rows import pack_comfy_int8

        self._marked = scheme, name, shape
        kernel = pack_convrot if rotates(scheme, shape) else pack_comfy_int8
        super().__init__(kernel, shape, (name, np.int8), (f"{name}_scale", np.float32))

    def finish(self) -> Finished:
        """Return the scales and the marker."""
        return marked(super().finish(), *self._marked)


class Float8(Whole):
    """Float8 with one scale."""

    def __init__(self, name: str, shape: tuple[int, ...], dtype: str) -> None:
        super().__init__(shape, dtype)
        self._name, self._shape = name, shape

    def begin(self, largest: np.float32) -> dict[str, Array]:
        """Return the codes, empty, and the scale."""
        return {self._name: zeros(self._shape), f"{self._name}_scale": np.array(largest / np.float32(448))}

    def encode(self, made: Mapping[str, Array], first: int, values: Array, sums: Array) -> None:
        """Fill codes."""
        from pipeline.kernels.eights import pack_float8

        codes = made[self._name].reshape(-1)[first : first + values.size]
        pack_float8(values, np.float32(made[f"{self._name}_scale"]), codes, sums)

    def finish(self) -> Finished:
        """Return all tensors and the marker."""
        return marked(super().finish(), "fp8", self._name, self._shape)


class TiledFours(Fours):
    """NVFP4, whose block scales lie as tensor cores read them."""

    def __init__(self, name: str, shape: tuple[int, ...], dtype: str) -> None:
        super().__init__(name, shape, dtype, high_first=True, multiple=16)
        self._shape = shape

    def finish(self) -> Finished:
        """Return all tensors and the marker."""
        from pipeline.kernels.tiles import tiled

        done = super().finish()
        done = replace(done, tensors={**done.tensors, self.blocks: tiled(done.tensors[self.blocks])})
        return marked(done, "nvfp4", self.codes, self._shape)


class MicroscaledRows:
    """MXFP8: rows of float8 in blocks of 32 with a power of two, whose scales lie as tensor cores read them."""

    def __init__(self, name: str, shape: tuple[int, ...], dtype: str) -> None:
        self._name, self._shape, self._dtype = name, shape, dtype
        self.unit = shape[1]
        self._rows, self._columns = (-(-size // 32) * 32 for size in shape)
        self._scales = Lazy(lambda: np.zeros((self._rows, self._columns // 32), np.uint8))
        self._errors = SquaredErrorSums()

    def pack(self, first: int, values: Array) -> list[Part]:
        """Quantize whole rows; behind the last one come those of zeros that fill a tile."""
        from pipeline.kernels.eights import pack_mxfp8
        from pipeline.kernels.formats import as_bits

        row, sums = first // self.unit, np.zeros(2)
        matrix = as_bits(values).reshape(-1, self.unit)
        if self.unit != self._columns:
            matrix = np.pad(matrix, ((0, 0), (0, self._columns - self.unit)))
        ends = row + len(matrix) == self._shape[0]
        codes = np.zeros((self._rows - row if ends else len(matrix), self._columns), np.uint8)
        scales = self._scales.get()[row : row + len(matrix)]
        pack_mxfp8(matrix.reshape(-1), scales.reshape(-1), codes[: len(matrix)].reshape(-1), sums)
        self._errors.note(first, float(sums[0]), float(sums[1]))
        return [(self._name, row * self._columns, codes.reshape(-1))]

    def finish(self) -> Finished:
        """Return the scales and the marker."""
        from pipeline.kernels.tiles import tiled

        done = self._errors.finished({f"{self._name}_scale": tiled(self._scales.get())})
        return marked(done, "mxfp8", self._name, self._shape)

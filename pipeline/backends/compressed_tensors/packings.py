"""Our own packing of compressed-tensors' weights."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from pipeline.backends.packings import NUMPY, Array, Lazy, Rows, SquaredErrorSums, Whole, zeros
from pipeline.backends.protocol import Finished, Part

LEAST = {"bfloat16": np.float32(2.0**-7), "float16": np.float32(2.0**-10), "float32": np.float32(2.0**-23)}
"""What stands for a scale of zero: the eps of the weight's dtype."""


class Float8Rows(Rows):
    """Rows of float8 with a scale in the weight's dtype."""

    def __init__(self, name: str, shape: tuple[int, ...], dtype: str) -> None:
        from pipeline.kernels.rows import pack_compressed_float8

        def kernel(values: Array, scales: Array, codes: Array, sums: Array) -> None:
            pack_compressed_float8(values, LEAST[dtype], scales, codes, sums)

        super().__init__(kernel, shape, (name, np.uint8), (f"{name}_scale", NUMPY[dtype]))


class Int4Groups:
    """Int4 in groups with a scale in the weight's dtype, eight values an int32."""

    def __init__(self, options: Any, name: str, shape: tuple[int, ...], dtype: str) -> None:
        self._name, self._shape, self._dtype = name, shape, dtype
        self.unit = options["group_size"]
        self._scales = Lazy(lambda: np.empty(shape[0] * shape[1] // self.unit, NUMPY[dtype]))
        self._errors = SquaredErrorSums()

    def pack(self, first: int, values: Array) -> list[Part]:
        """Quantize whole groups."""
        from pipeline.kernels.formats import as_bits
        from pipeline.kernels.groups import pack_symmetric

        group, sums = first // self.unit, np.zeros(2)
        matrix = as_bits(values).reshape(-1, self.unit)
        packed = np.empty((len(matrix), self.unit // 2), np.uint8)
        scales = as_bits(self._scales.get()[group : group + len(matrix)])
        pack_symmetric(matrix, LEAST[self._dtype], scales, packed, sums)
        self._errors.note(first, float(sums[0]), float(sums[1]))
        return [(f"{self._name}_packed", first // 2, packed.reshape(-1).view("<i4"))]

    def finish(self) -> Finished:
        """Return the scales, and the shape that the values had."""
        shape = np.array(self._shape, np.int64)
        return self._errors.finished({f"{self._name}_scale": self._scales.get(), f"{self._name}_shape": shape})


class Fours(Whole):
    """NVFP4, whose tensor has the inverse of a scale."""

    def __init__(self, name: str, shape: tuple[int, ...], dtype: str) -> None:
        super().__init__(shape, dtype)
        self._codes, self._blocks, self._scale = f"{name}_packed", f"{name}_scale", f"{name}_global_scale"

    def begin(self, largest: np.float32) -> dict[str, Array]:
        """Return codes and block scales, empty, and the inverse of the tensor's scale, where that is a number."""
        with np.errstate(over="ignore"):
            # torch divides a number by a tensor so, which is not always what a division gives.
            scale = np.float32(1) / max(largest, np.finfo(np.float32).tiny) * np.float32(448 * 6)
        return {
            self._codes: zeros((self.rows, self.columns // 2)),
            self._blocks: np.empty((self.rows, self.columns // 16), np.uint8),
            self._scale: np.array([scale if np.isfinite(scale) else 1], np.float32),
        }

    def encode(self, made: Mapping[str, Array], first: int, values: Array, sums: Array) -> None:
        """Fill codes and block scales."""
        from pipeline.kernels.fours import COMPRESSED, pack_fours

        codes, blocks = (
            made[name].reshape(-1)[first // each : (first + values.size) // each]
            for name, each in ((self._codes, 2), (self._blocks, 16))
        )
        pack_fours(values, made[self._scale][0], COMPRESSED, blocks, codes, sums)

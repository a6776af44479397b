"""Our own packing of quanto's weights."""

from __future__ import annotations

from dataclasses import replace
from threading import Lock

import numpy as np

from pipeline.backends.packings import NUMPY, Array, Lazy, Rows, SquaredErrorSums, zeros
from pipeline.backends.protocol import Finished, Part
from pipeline.backends.quanto.grouping import BITS, group_size, through_midpoint

STRETCHES = 64  # of the packed codes of a weight, each with its own lock


def activations(name: str, dtype: str) -> dict[str, Array]:
    """Return the scales of input and output, which stay one."""
    one = np.array(0x3F80, np.uint16) if dtype == "bfloat16" else np.ones((), NUMPY[dtype])
    module = name.removesuffix("weight")
    return {f"{module}input_scale": one, f"{module}output_scale": one}


class WholeRows(Rows):
    """Rows of int8 or float8 with a scale in the weight's dtype."""

    def __init__(self, scheme: str, name: str, shape: tuple[int, ...], dtype: str) -> None:
        from pipeline.kernels import rows as kernels

        self._ones = activations(name, dtype)
        kernel, codes = (
            (kernels.pack_quanto_int8, np.int8) if scheme == "int8" else (kernels.pack_quanto_float8, np.uint8)
        )
        super().__init__(kernel, shape, (f"{name}._data", codes), (f"{name}._scale", NUMPY[dtype]))
        rows, columns = shape
        size = rows * columns
        # torch works on 32 bfloat16 at a time: in what is left of the weight, the NaN of a row of zeros has no sign
        # where it was made of what was left of a row.
        left = min(size % 32, columns % 32) if columns >= 32 else size % 32
        self._signed = size - left if scheme == "float8" and dtype == "bfloat16" else size

    def pack(self, first: int, values: Array) -> list[Part]:
        """Quantize whole rows."""
        parts = super().pack(first, values)
        ((_, _, codes),) = parts
        left = codes[max(self._signed - first, 0) :]
        left[left == 0xFF] = 0x7F
        return parts

    def finish(self) -> Finished:
        """Return the scales."""
        done = super().finish()
        return replace(done, tensors={**done.tensors, **self._ones})


class Groups:
    """Codes of 4 or 2 bits in groups with a scale and a shift.

    The groups of a weight are cut in two or four equal runs, and a byte holds the codes of one place in each run. So no
    byte is final before the last piece, and threads that pack different runs share bytes: each takes the lock of a
    stretch of bytes while it fills it.
    """

    def __init__(self, scheme: str, name: str, shape: tuple[int, ...], dtype: str) -> None:
        self._name, self._dtype, self._bits = name, dtype, BITS[scheme]
        self._midpoint = through_midpoint(scheme, shape[1], dtype)
        self.unit = group_size(shape[1])
        groups = shape[0] * shape[1] // self.unit
        self._run = -(-groups * self._bits // 8)
        self._stretch = -(-self._run // STRETCHES)
        self._locks = [Lock() for _ in range(STRETCHES)]
        self._packed = Lazy(lambda: zeros((self._run, self.unit)))
        self._statistics = Lazy(lambda: np.empty((2, groups), NUMPY[dtype]))
        self._errors = SquaredErrorSums()

    def pack(self, first: int, values: Array) -> list[Part]:
        """Quantize whole groups; nothing is final yet."""
        from pipeline.kernels.formats import as_bits
        from pipeline.kernels.groups import pack_groups

        matrix, sums = as_bits(values).reshape(-1, self.unit), np.zeros(2)
        statistics, packed = as_bits(self._statistics.get()), self._packed.get()
        done, group = 0, first // self.unit
        while done < len(matrix):
            run, row = divmod(group + done, self._run)
            stretch, within = divmod(row, self._stretch)
            count = min(len(matrix) - done, self._stretch - within, self._run - row)
            steps = np.float32(2**self._bits - 1), np.float32(2 ** (self._bits * run))
            kept = statistics[:, group + done : group + done + count]
            with self._locks[stretch]:
                chunk = matrix[done : done + count]
                pack_groups(chunk, steps, self._midpoint, kept, packed[row : row + count], sums)
            done += count
        self._errors.note(first, float(sums[0]), float(sums[1]))
        return []

    def finish(self) -> Finished:
        """Return the codes, the scales and the shifts."""
        scales, shifts = self._statistics.get()
        tensors = {f"{self._name}._data._data": self._packed.get(), f"{self._name}._scale": scales}
        tensors |= {f"{self._name}._shift": shifts, **activations(self._name, self._dtype)}
        return self._errors.finished(tensors)


class SingleRow:
    """A row that is one group alone: quanto makes a group of each value, all in the shift."""

    def __init__(self, name: str, columns: int, dtype: str) -> None:
        self._name, self._dtype, self.unit = name, dtype, columns
        self._errors = SquaredErrorSums()
        self._shifts: Array = np.empty(0)

    def pack(self, first: int, values: Array) -> list[Part]:
        """Keep the values with their sign turned."""
        from pipeline.kernels.formats import as_bits
        from pipeline.kernels.rows import sum_of_squares

        self._shifts = -values if values.dtype != np.uint16 else values ^ np.uint16(0x8000)
        self._errors.note(first, 0.0, sum_of_squares(as_bits(values)))
        return []

    def finish(self) -> Finished:
        """Return codes and scales of zero, and the shifts."""
        codes, scales = np.zeros(self.unit, np.uint8), np.zeros_like(self._shifts)
        tensors = {f"{self._name}._data._data": codes, f"{self._name}._scale": scales}
        tensors |= {f"{self._name}._shift": self._shifts, **activations(self._name, self._dtype)}
        return self._errors.finished(tensors)

"""optimum-quanto: int8 and float8 rows, int4 and int2 groups of up to 128 with a scale and a shift.

quanto is in maintenance mode and diffusers will drop it in 1.0.0; nothing outside this folder knows it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from threading import Lock
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.backends import build as by_library
from pipeline.backends.oracle.quirks import Quirks
from pipeline.backends.packings import NUMPY, Array, Lazy, Rows, SquaredErrorSums, zeros
from pipeline.backends.protocol import Finished, Layout, Loader, Packed, Packing, Part, Scheme, Skip

if TYPE_CHECKING:
    import torch

EXTRA = "quanto"
DISTRIBUTION = "optimum-quanto"
PACKAGE = "optimum.quanto"
SKIP: Skip = {"key": "modules_to_not_convert", "spelling": "leaf"}
BITS = {"int8": 8, "float8": 8, "int4": 4, "int2": 2}
STRETCHES = 64  # of the packed codes of a weight, each with its own lock
STORED = {"bfloat16": "BF16", "float16": "F16", "float32": "F32"}

REFUSES = {"transformers": "transformers cannot save what quanto quantized (it is 'not serializable')"}
RUNS_ON = "any device that torch runs on; optimum-quanto must be installed, and diffusers drops it in 1.0.0"
SCHEMES = {
    "int8": Scheme("8-bit integers with one scale a row", RUNS_ON, 41.2, refuses=REFUSES),
    "int4": Scheme("4-bit integers in groups of up to 128 with scale and shift", RUNS_ON, 20.0, refuses=REFUSES),
    "int2": Scheme("2-bit integers in groups of up to 128 with scale and shift", RUNS_ON, 6.0, refuses=REFUSES),
    "float8": Scheme("8-bit floats (e4m3) with one scale a row", RUNS_ON, 31.5, refuses=REFUSES),
}
LOADERS = {"diffusers": Loader()}

build = by_library.build


def configuration(scheme: str, options: Mapping[str, Any]) -> dict[str, Any]:  # noqa: ARG001  part of the protocol
    """Return the fields of a ``QuantoConfig``."""
    return {"quant_method": "quanto", "weights_dtype": scheme}


def quirks() -> Quirks:
    """Return what quanto does beside what its quantizer says."""
    return Quirks(casts_float32=True)


def group_size(columns: int) -> int:
    """Return the weights that share a scale: the largest of 128, 96, 64, 32 that divides a row, else the whole row."""
    if columns <= 128:
        return columns
    return next((size for size in (128, 96, 64, 32) if columns % size == 0), columns)


def layout(scheme: str, options: Mapping[str, Any], name: str, shape: tuple[int, ...], dtype: str) -> Layout:  # noqa: ARG001
    """Return the tensors of a weight, as a frozen ``QLinear`` saves them."""
    rows, columns = shape
    module = name.removesuffix("weight")
    stored = STORED[dtype]
    activations: Layout = {f"{module}input_scale": (stored, ()), f"{module}output_scale": (stored, ())}
    if BITS[scheme] == 8:
        codes = "I8" if scheme == "int8" else "F8_E4M3"
        per_row = (rows, 1) if rows > 1 else ()
        return {f"{name}._data": (codes, shape), f"{name}._scale": (stored, per_row), **activations}
    group = group_size(columns)
    groups = rows * columns // group
    packed = (-(-groups * BITS[scheme] // 8), group)
    # A row that is one group alone has a scale for each column: quanto takes the other axis then.
    scales = (groups, 1) if groups > 1 else (1, columns)
    return {
        f"{name}._data._data": ("U8", packed),
        f"{name}._scale": (stored, scales),
        f"{name}._shift": (stored, scales),
        **activations,
    }


def pack(scheme: str, options: Mapping[str, Any], name: str, weight: torch.Tensor) -> Packed:  # noqa: ARG001
    """Quantize one weight with a ``QLinear`` that is frozen at once, as diffusers' quantizer does."""
    import torch
    from optimum.quanto import QLinear, qtypes

    types = {"int8": "qint8", "int4": "qint4", "int2": "qint2", "float8": "qfloat8"}
    rows, columns = weight.shape
    linear = QLinear(columns, rows, bias=False, dtype=weight.dtype, device="meta", weights=qtypes[types[scheme]])
    linear.input_scale = torch.ones((), dtype=weight.dtype)
    linear.output_scale = torch.ones((), dtype=weight.dtype)
    linear.weight = torch.nn.Parameter(weight, requires_grad=False)
    linear.freeze()
    module = name.removesuffix("weight")
    return Packed({f"{module}{part}": value.contiguous() for part, value in linear.state_dict().items()})


def packing(scheme: str, options: Mapping[str, Any], name: str, shape: tuple[int, ...], dtype: str) -> Packing | None:  # noqa: ARG001
    """Return our own packing of a weight; there is none where quanto itself fails."""
    rows, columns = shape
    if BITS[scheme] == 8:
        return WholeRows(scheme, name, shape, dtype)
    if rows == 1 and group_size(columns) == columns:
        return SingleRow(name, columns, dtype)
    if through_midpoint(scheme, columns, dtype) and rows % 16:
        return None  # torch's int4 kernel for the CPU refuses it
    return Groups(scheme, name, shape, dtype)


def through_midpoint(scheme: str, columns: int, dtype: str) -> bool:
    """Return whether quanto keeps the weight in the form of torch's int4 kernel, where shifts lose bits."""
    return scheme == "int4" and dtype == "bfloat16" and columns > 128 and group_size(columns) == 128


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


def describe(scheme: str, options: Mapping[str, Any], name: str, shape: tuple[int, ...], dtype: str) -> str | None:
    """Return nothing: the header does not say that a weight is quantized."""


def metadata(parameters: list[str], packed: Mapping[str, str]) -> dict[str, str]:  # noqa: ARG001  part of the protocol
    """Return the header's metadata, which says nothing of the quantization."""
    return {"format": "pt"}

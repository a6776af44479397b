"""Casts between float formats as torch makes them, and the search for values that are no numbers.

numpy knows no bfloat16: it comes and goes as its bits (uint16). Every cast goes through float32, as torch's do, and
rounds to nearest, ties to even.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from pipeline.kernels.compiling import kernel

if TYPE_CHECKING:
    from numpy.typing import NDArray

EXPONENTS: Final = {"F64": 0x7FF0000000000000, "F32": 0x7F800000, "F16": 0x7C00, "BF16": 0x7F80}
BITS: Final = {"F64": np.uint64, "F32": np.uint32, "F16": np.uint16, "BF16": np.uint16}
VALUES: Final = {"F64": np.float64, "F32": np.float32, "F16": np.float16, "BF16": np.uint16}


@kernel
def _largest(bits: NDArray[Any], mask: NDArray[Any]) -> Any:
    """Return the largest element without its sign; in the elements' own type, so that it runs at full width."""
    largest = bits[0] & mask[0]
    for index in range(bits.size):
        largest = max(largest, bits[index] & mask[0])
    return largest


@kernel
def _widen(bits: NDArray[np.uint16], out: NDArray[np.uint32]) -> None:
    for index in range(bits.size):
        out[index] = np.uint32(bits[index]) << np.uint32(16)


@kernel
def _narrow(bits: NDArray[np.uint32], out: NDArray[np.uint16]) -> None:
    for index in range(bits.size):
        value = bits[index]
        odd = (value >> np.uint32(16)) & np.uint32(1)
        out[index] = np.uint16((value + np.uint32(0x7FFF) + odd) >> np.uint32(16))


def non_finite(values: NDArray[Any], stored: str) -> int:
    """Return how many values are NaN or infinite.

    Args:
        values: One-dimensional, of the dtype in `VALUES`.
        stored: The safetensors dtype: F64, F32, F16 or BF16.
    """
    bits, exponent = values.view(BITS[stored]), EXPONENTS[stored]
    unsigned = np.array([np.iinfo(bits.dtype).max >> 1], bits.dtype)
    if not bits.size or _largest(bits, unsigned) < exponent:
        return 0
    return int(((bits & unsigned) >= exponent).sum())


def cast(values: NDArray[Any], stored: str, wanted: str) -> NDArray[Any]:
    """Return values in another float format; the array itself where it is in that already.

    Args:
        values: One-dimensional and finite, of the dtype in `VALUES`.
        stored: The safetensors dtype they have: F64, F32, F16 or BF16.
        wanted: The one they are to have: F32, F16 or BF16. What does not fit becomes infinite.
    """
    if stored == wanted:
        return values
    if stored == "BF16":
        wide = np.empty(values.size, np.uint32)
        _widen(values, wide)
        single = wide.view(np.float32)
    else:
        with np.errstate(over="ignore"):
            single = values.astype(np.float32, copy=False)
    if wanted == "BF16":
        narrow = np.empty(values.size, np.uint16)
        _narrow(single.view(np.uint32), narrow)
        return narrow
    with np.errstate(over="ignore"):
        return single.astype(VALUES[wanted], copy=False)

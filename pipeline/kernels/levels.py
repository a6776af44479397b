"""The levels that codes stand for: bitsandbytes' 16 of nf4 and fp4 and 256 of its dynamic type, and those of float8."""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

SMALLEST = np.float32(1e-38)  # what bitsandbytes divides by instead of anything smaller

# Quantiles of a normal distribution with an exact zero; QLoRA (https://arxiv.org/abs/2305.14314), appendix E.
NF4 = (
    -1.0,
    -0.6961928009986877,
    -0.5250730514526367,
    -0.39491748809814453,
    -0.28444138169288635,
    -0.18477343022833334,
    -0.09105003625154495,
    0.0,
    0.07958029955625534,
    0.16093020141124725,
    0.24611230194568634,
    0.33791524171829224,
    0.44070982933044434,
    0.5626170039176941,
    0.7229568362236023,
    1.0,
)
# One bit of sign, two of exponent, one of mantissa, over the largest of them; the second zero is no negative one.
FP4 = tuple(sign * size / 12 for sign in (1, -1) for size in (0, 0.0625, 8, 12, 4, 6, 2, 3))


def float8_levels() -> Floats:
    """Return what the 256 codes of float8 (e4m3) stand for: four bits of exponent, three of mantissa, two NaN."""
    codes = np.arange(128)
    exponents, digits = codes >> 3, codes & 7
    sizes = np.where(exponents == 0, digits / 8 * 2.0**-6, (1 + digits / 8) * 2.0 ** (exponents - 7))
    sizes[127] = np.nan
    return np.concatenate([sizes, -sizes]).astype(np.float32)


FLOAT8_LEVELS = float8_levels()


class Codebook(NamedTuple):
    """Sixteen levels, as `pipeline.kernels.codebook.search_block` looks them up.

    Attributes:
        by_code: The level of each code.
        tables: Half way between two levels, and one more to fill the register; then the levels; both ascending.
        symbols: The codes of the ascending levels, four bits each.
    """

    by_code: Floats
    tables: Floats
    symbols: np.uint64


@cache
def codebook(scheme: str) -> Codebook:
    """Return the codebook of ``nf4`` or ``fp4``."""
    by_code = np.array(NF4 if scheme == "nf4" else FP4, np.float32) + np.float32(0)  # no -0.0 among them
    order = np.argsort(by_code, kind="stable")
    levels = by_code[order]
    tables = np.full((2, 16), np.inf, np.float32)
    tables[0, :-1] = (levels[:-1] + levels[1:]) / np.float32(2)
    tables[1] = levels
    symbols = sum(int(code) << 4 * place for place, code in enumerate(order))
    return Codebook(by_code, tables.reshape(-1), np.uint64(symbols))


@cache
def dynamic_levels() -> Floats:
    """Return the 256 levels of bitsandbytes' signed dynamic type, ascending (``create_dynamic_map``).

    Seven decades, each with twice as many levels as the one below; see https://arxiv.org/abs/1511.04561.
    """
    sizes = [decade(exponent) for exponent in range(7)]
    ends = np.array([0, 1], np.float32)
    return np.sort(np.concatenate([*sizes, *(-size for size in sizes), ends]))


def decade(exponent: int) -> Floats:
    """Return the middles of ``2**exponent`` equal parts of the range from a tenth to one, scaled by a power of ten."""
    count = 2**exponent
    step = np.float64((np.float32(1) - np.float32(0.1)) / np.float32(count))
    places = np.arange(count + 1)
    # As torch.linspace: the first half from the beginning, the second from the end, product and sum rounded once.
    rising, falling = np.float32(0.1) + step * places, 1 - step * (count - places)
    ends = np.where(places < (count + 1) // 2, rising, falling).astype(np.float32)
    return np.float32(10.0 ** (exponent - 6)) * ((ends[:-1] + ends[1:]) / np.float32(2))

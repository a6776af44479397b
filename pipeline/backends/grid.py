"""A grid for ranges that are measured: processors differ in the last bits of a sum, and rarely on it."""

from __future__ import annotations

from math import ceil, floor, frexp, ldexp
from typing import Final

BITS: Final = 7


def outwards(end: float) -> float:
    """Return the next number of `BITS` bits away from zero, which is a 64th farther out at most."""
    share, exponent = frexp(end)
    steps = share * 2**BITS
    return ldexp(ceil(steps) if end > 0 else floor(steps), exponent - BITS)

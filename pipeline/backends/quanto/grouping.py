"""How quanto groups the weights of a row."""

from __future__ import annotations

BITS = {"int8": 8, "float8": 8, "int4": 4, "int2": 2}


def group_size(columns: int) -> int:
    """Return the weights that share a scale: the largest of 128, 96, 64, 32 that divides a row, else the whole row."""
    if columns <= 128:
        return columns
    return next((size for size in (128, 96, 64, 32) if columns % size == 0), columns)


def through_midpoint(scheme: str, columns: int, dtype: str) -> bool:
    """Return whether quanto keeps the weight in the form of torch's int4 kernel, where shifts lose bits."""
    return scheme == "int4" and dtype == "bfloat16" and columns > 128 and group_size(columns) == 128

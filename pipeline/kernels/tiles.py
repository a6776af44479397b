"""The order in which tensor cores read the scales of blocks: tiles of 128 rows and 4 columns, 512 bytes each.

A tile holds four runs of 32 rows side by side: the scales of row 0, 32, 64 and 96 are its first 16 bytes. See "Block
scaling factors layout" in the documentation of cuBLAS.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

ROWS, COLUMNS, RUN = 128, 4, 32


def tiled_shape(rows: int, columns: int) -> tuple[int, int]:
    """Return the rows and columns of whole tiles."""
    return -(-rows // ROWS) * ROWS, -(-columns // COLUMNS) * COLUMNS


def tiled(scales: NDArray[Any]) -> NDArray[Any]:
    """Return the scales of rows and columns tile by tile, with zeros where tiles reach beyond them."""
    rows, columns = scales.shape
    whole = np.zeros(tiled_shape(rows, columns), scales.dtype)
    whole[:rows, :columns] = scales
    tiles = whole.reshape(-1, ROWS // RUN, RUN, whole.shape[1] // COLUMNS, COLUMNS)
    return tiles.transpose(0, 3, 2, 1, 4).reshape(whole.shape)


def untiled(scales: NDArray[Any], rows: int, columns: int) -> NDArray[Any]:
    """Return scales that `tiled` gave in rows and columns."""
    height, width = tiled_shape(rows, columns)
    tiles = scales.reshape(-1, width // COLUMNS, RUN, ROWS // RUN, COLUMNS)
    return tiles.transpose(0, 3, 2, 1, 4).reshape(height, width)[:rows, :columns]

"""Our own packing of the weights of diffusers' ``bfl`` quantizer."""

from __future__ import annotations

import numpy as np

from pipeline.backends.packings import Rows


class Float8Rows(Rows):
    """Rows of float8 with a float32 scale each."""

    def __init__(self, name: str, shape: tuple[int, ...]) -> None:
        from pipeline.kernels.rows import pack_bfl_float8

        super().__init__(pack_bfl_float8, shape, (name, np.uint8), (f"{name}_scale", np.float32))

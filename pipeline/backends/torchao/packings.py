"""Our own packing of torchao's weights."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from pipeline.backends.packings import Rows
from pipeline.backends.protocol import Finished


class AffineRows(Rows):
    """Rows of int8 or float8 with a float32 scale, and a zero point that is always zero."""

    def __init__(self, scheme: str, name: str, shape: tuple[int, ...]) -> None:
        from pipeline.kernels import rows

        self._float8 = scheme.startswith("float8")
        self._part = f"{name.removesuffix('weight')}_weight_"
        kernel, codes = (rows.pack_torchao_float8, np.uint8) if self._float8 else (rows.pack_torchao_int8, np.int8)
        super().__init__(kernel, shape, (f"{self._part}qdata", codes), (f"{self._part}scale", np.float32))

    def finish(self) -> Finished:
        """Return the scales and the zero points."""
        done = super().finish()
        if self._float8:
            return done
        scales = done.tensors[f"{self._part}scale"]
        return replace(done, tensors={**done.tensors, f"{self._part}zero_point": np.zeros(scales.shape, np.int8)})

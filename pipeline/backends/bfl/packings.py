"""Our own packing of the weights of diffusers' ``bfl`` quantizer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from pipeline.backends.bfl import input_scale
from pipeline.backends.packings import Fours, Rows
from pipeline.backends.protocol import Finished


class Float8Rows(Rows):
    """Rows of float8 with a float32 scale each."""

    def __init__(self, name: str, shape: tuple[int, ...]) -> None:
        from pipeline.kernels.rows import pack_bfl_float8

        super().__init__(pack_bfl_float8, shape, (name, np.uint8), (f"{name}_scale", np.float32))


class CalibratedFours(Fours):
    """NVFP4 with the scale of what its layer is given."""

    def __init__(self, name: str, shape: tuple[int, ...], dtype: str, inputs: Mapping[str, float] | None) -> None:
        """Describe the weight.

        Args:
            name: Its name.
            shape: Its rows and columns.
            dtype: Its torch dtype.
            inputs: The largest absolute value that each layer is given; None where only the weight is looked at, which
                then lacks that scale.
        """
        super().__init__(name, shape, dtype, high_first=False)
        self._module, self._inputs = name.removesuffix(".weight"), inputs

    def finish(self) -> Finished:
        """Return all tensors."""
        done = super().finish()
        if self._inputs is None:
            return done
        scale = input_scale(self._inputs[self._module])
        return replace(done, tensors={**done.tensors, f"{self._module}.input_scale": scale})

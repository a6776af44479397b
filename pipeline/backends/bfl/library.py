"""What diffusers reads in Black Forest Labs' formats: asked of its own quantizer, and loaded as its users do.

Part of child processes.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from diffusers import BFLQuantizationConfig
from diffusers.quantizers.bfl.bfl_quantizer import BFLQuantizer
from diffusers.quantizers.bfl.utils import BFLFP8RLinear, BFLNVFP4Linear, BFLQuantizedParameter

from pipeline.backends.bfl import FORM, fits
from pipeline.backends.loader import Lift
from pipeline.backends.oracle import linears
from pipeline.backends.oracle.model import Prepared

KINDS = {"fp8": "fp8r", "nvfp4": "nvfp4"}  # what diffusers calls them


class Wanted(linears.Wanted, BFLQuantizationConfig):  # type: ignore[misc]
    """What a user asks for, with what diffusers' own configuration has beside."""

    def __init__(self, settings: dict[str, Any]) -> None:
        BFLQuantizationConfig.__init__(self)
        super().__init__(settings)


class Asked(linears.AsOfFile, BFLQuantizer):  # type: ignore[misc]
    """diffusers' quantizer, given a file of which every matrix that may be is quantized.

    Args:
        settings: What a user asks for: the scheme, and the modules that are left alone.
    """

    def __init__(self, settings: dict[str, Any]) -> None:
        super().__init__(Wanted(settings), pre_quantized=True)
        self.scheme = settings["scheme"]

    def stored(self, _name: str, module: Any) -> Any:
        """Return the weight of a layer as a file has it; diffusers looks at its kind alone."""
        empty = torch.empty(0, device="meta")
        fitting = fits(self.scheme, module.in_features)
        return BFLQuantizedParameter(empty, KINDS[self.scheme], empty) if fitting else None

    def check_if_quantized_param(self, model: Any, _value: Any, name: str, *_further: Any, **_more: Any) -> bool:
        """Return whether a parameter is the weight of one of those layers."""
        return isinstance(model.get_submodule(name.rpartition(".")[0]), (BFLFP8RLinear, BFLNVFP4Linear))


def left_because(prepared: Prepared, name: str) -> str:
    """Return why a module stays as it is that nobody asked to keep."""
    columns = prepared.modules[name].in_features
    return "" if fits(prepared.quantizer.scheme, columns) else f"no block divides its rows of {columns}"


def opened(kind: Any, folder: Path, dtype: torch.dtype) -> Any:
    """Return a component as its card says to load it, to compute in a dtype."""
    return linears.opened(kind, folder, FORM, BFLQuantizationConfig(compute_dtype=dtype))


def unpacked(_parts: Mapping[str, Any]) -> str:
    """Say what diffusers does by itself without a GPU."""
    return "without a GPU each layer is unpacked when it is called, and activations stay as they are"


UNPACKED = Lift(before=str, after=unpacked)

"""What diffusers reads in Black Forest Labs' formats: asked of its own quantizer, and loaded as its users do.

Part of child processes.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from diffusers import BFLQuantizationConfig
from diffusers.loaders.single_file_model import SINGLE_FILE_LOADABLE_CLASSES, _get_single_file_loadable_mapping_class
from diffusers.quantizers.bfl.bfl_quantizer import BFLQuantizer
from diffusers.quantizers.bfl.utils import BFLFP8RLinear, BFLNVFP4Linear, BFLQuantizedParameter

from pipeline.backends.bfl import FORM, fits
from pipeline.backends.loader import Lift
from pipeline.backends.oracle.conversion import ConversionRequest
from pipeline.backends.oracle.model import Prepared
from pipeline.source.safetensors import FLOATS
from pipeline.worker.child import WorkerError

CALLED_BY_OTHERS = ("NonDynamicallyQuantizableLinear",)  # whose weight torch's attention takes itself
KINDS = {"fp8": "fp8r", "nvfp4": "nvfp4"}  # what diffusers calls them


class Wanted(BFLQuantizationConfig):  # type: ignore[misc]
    """What a user asks for: the scheme, and the modules that are left alone."""

    def __init__(self, settings: dict[str, Any]) -> None:
        super().__init__()
        self._settings = settings

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON."""
        return self._settings


class Asked(BFLQuantizer):  # type: ignore[misc]
    """diffusers' quantizer, given a file of which every matrix that may be is quantized.

    Args:
        settings: What a user asks for: the scheme, and the modules that are left alone.
    """

    def __init__(self, settings: dict[str, Any]) -> None:
        super().__init__(Wanted(settings), pre_quantized=True)
        self.scheme = settings["scheme"]
        self._left = {*(settings.get("modules_to_not_convert") or ())}

    def _process_model_before_weight_loading(
        self, model: Any, device_map: Any, keep_in_fp32_modules: list[str], **_further: Any
    ) -> None:
        """Put diffusers' own layers in the places of those that a file would have quantized."""
        empty, kind = torch.empty(0, device="meta"), KINDS[self.scheme]
        tensors = {
            f"{name}.weight": BFLQuantizedParameter(empty, kind, empty)
            for name, module in model.named_modules()
            if linear(module) and name not in self._left and fits(self.scheme, module.in_features)
        }
        super()._process_model_before_weight_loading(
            model, device_map, keep_in_fp32_modules=keep_in_fp32_modules, state_dict=tensors
        )

    def check_if_quantized_param(self, model: Any, _value: Any, name: str, *_further: Any, **_more: Any) -> bool:
        """Return whether a parameter is the weight of one of those layers."""
        return isinstance(model.get_submodule(name.rpartition(".")[0]), (BFLFP8RLinear, BFLNVFP4Linear))


def linear(module: Any) -> bool:
    """Return whether a module is a Linear layer that is called itself."""
    return isinstance(module, torch.nn.Linear) and type(module).__name__ not in CALLED_BY_OTHERS


def refuse_unreadable(question: ConversionRequest, prepared: Prepared) -> None:
    """Refuse a component that diffusers reads from no single file.

    Raises:
        WorkerError: Its class is none of those, or a tensor of it holds what no float is.
    """
    if _get_single_file_loadable_mapping_class(type(prepared.model)) is None:
        what = f"diffusers reads one file of {len(SINGLE_FILE_LOADABLE_CLASSES)} classes, and {question.class_name} is "
        raise WorkerError("recipe", f"{what}none of them.", "Choose another backend for this component.")
    for name, tensor in question.tensors.items():
        if tensor.dtype not in FLOATS:
            what = f"The tensor {name!r} is stored as {tensor.dtype}; somebody may have quantized it before."
            raise WorkerError("recipe", what, "Choose a source in full precision.")


def left_because(prepared: Prepared, name: str) -> str:
    """Return why a module stays as it is that nobody asked to keep."""
    columns = prepared.modules[name].in_features
    return "" if fits(prepared.quantizer.scheme, columns) else f"no block divides its rows of {columns}"


def opened(kind: Any, folder: Path, dtype: torch.dtype) -> Any:
    """Return a component as its card says to load it.

    Args:
        kind: Its class.
        folder: Its config, and the one file of its weights.
        dtype: What it computes in.
    """
    (file,) = FORM.weights_in(folder)
    config = BFLQuantizationConfig(compute_dtype=dtype)
    return kind.from_single_file(str(folder / file), config=str(folder), quantization_config=config, dtype=dtype)


def unpacked(_parts: Mapping[str, Any]) -> str:
    """Say what diffusers does by itself without a GPU."""
    return "without a GPU each layer is unpacked when it is called, and activations stay as they are"


UNPACKED = Lift(before=str, after=unpacked)

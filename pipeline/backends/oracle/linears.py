"""Which layers a single file holds quantized, where no library makes such files; part of child processes."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import torch
from diffusers.loaders.single_file_model import SINGLE_FILE_LOADABLE_CLASSES, _get_single_file_loadable_mapping_class

from pipeline.backends.artifact import Form
from pipeline.backends.oracle.conversion import ConversionRequest
from pipeline.backends.oracle.model import Prepared
from pipeline.source.classes import FULL_PRECISION
from pipeline.source.safetensors import FLOATS
from pipeline.worker.child import WorkerError

CALLED_BY_OTHERS: Final = ("NonDynamicallyQuantizableLinear",)  # whose weight torch's attention takes itself
OTHERWISE: Final = "Choose another backend for this component."


class Wanted:
    """What a user asks for, in the place of a configuration of diffusers.

    Args:
        settings: The method and its scheme, and the modules that are left alone, as JSON.
    """

    def __init__(self, settings: dict[str, Any]) -> None:
        self.settings = settings
        self.quant_method = settings["quant_method"]

    @property
    def left(self) -> set[str]:
        """The modules that are left alone."""
        return {*(self.settings.get("modules_to_not_convert") or ())}

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON."""
        return self.settings


class AsOfFile:
    """Has a quantizer of diffusers prepare a model as for a file in which every Linear layer that may be is quantized.

    It stands before diffusers' own quantizer among the bases of a class.
    """

    quantization_config: Any

    def stored(self, name: str, module: Any) -> Any:
        """Return the weight of a layer as the file would have it, without content; None where it would be whole."""
        raise NotImplementedError

    def _process_model_before_weight_loading(
        self, model: Any, device_map: Any, keep_in_fp32_modules: list[str], **_further: Any
    ) -> None:
        """Put diffusers' own layers in the places of those."""
        tensors = {
            f"{name}.weight": weight
            for name, module in model.named_modules()
            if is_linear(module)
            and name not in self.quantization_config.left
            and (weight := self.stored(name, module)) is not None
        }
        super()._process_model_before_weight_loading(  # type: ignore[misc]
            model, device_map, keep_in_fp32_modules=keep_in_fp32_modules, state_dict=tensors
        )


def opened(kind: Any, folder: Path, form: Form, config: Any) -> Any:
    """Return a component of diffusers as its card says to load it.

    Args:
        kind: Its class.
        folder: Its config, and the one file of its weights.
        form: In what file it lies.
        config: diffusers' configuration of such files, which says what it computes in.
    """
    (file,) = form.weights_in(folder)
    dtype = config.compute_dtype
    return kind.from_single_file(str(folder / file), config=str(folder), quantization_config=config, dtype=dtype)


def is_linear(module: Any) -> bool:
    """Return whether a module is a Linear layer that is called itself."""
    return isinstance(module, torch.nn.Linear) and type(module).__name__ not in CALLED_BY_OTHERS


def refuse_unreadable(question: ConversionRequest, prepared: Prepared) -> None:
    """Refuse a component that diffusers reads from no single file.

    Raises:
        WorkerError: Its class is none of those, or a tensor of it holds what no float is.
    """
    if _get_single_file_loadable_mapping_class(type(prepared.model)) is None:
        what = f"diffusers reads single files of {len(SINGLE_FILE_LOADABLE_CLASSES)} classes"
        raise WorkerError("recipe", f"{what}, and {question.class_name} is none of them.", OTHERWISE)
    for name, tensor in question.tensors.items():
        if tensor.dtype not in FLOATS:
            what = f"The tensor {name!r} is stored as {tensor.dtype}, and a single file holds floats beside its codes."
            raise WorkerError("recipe", what, f"{FULL_PRECISION[:-1]}, or choose another backend for this component.")

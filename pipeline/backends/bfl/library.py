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
from pipeline.backends.oracle.conversion import ConversionRequest
from pipeline.backends.oracle.model import Prepared
from pipeline.backends.oracle.probing import OWN_NAMES, answer_single_file, converter
from pipeline.backends.oracle.single_file import SingleFileRequest
from pipeline.worker.child import WorkerError, first_line

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


def refuse_unreadable(question: ConversionRequest, prepared: Prepared) -> None:
    """Refuse a component that diffusers reads from no single file, or not from one in the names of its family.

    Raises:
        WorkerError: Its class is none of those; or of the family's file parts of a quantized tensor are taken in
            another way than diffusers parts the scales with.
    """
    linears.refuse_unreadable(question, prepared)
    if question.quantization["names"] != "family":
        return
    shapes = {name: tensor.shape for name, tensor in question.tensors.items()}
    asked = SingleFileRequest(class_name=question.class_name, config=question.config, shapes=shapes)
    taken = {f"{name}.weight" for name in prepared.converted()}
    file = {
        name: as_read(number, tensor.shape, prepared.quantizer.scheme if tensor.rows[0].tensor in taken else "")
        for number, (name, tensor) in enumerate(answer_single_file(asked).tensors.items())
    }
    try:
        converter(question.class_name)[1](checkpoint=file, config=dict(question.config))
    except NotImplementedError as error:
        what = f"diffusers takes tensors of {question.class_name} apart as it does no quantized ones"
        raise WorkerError("recipe", f"{what}: {first_line(error)}", OWN_NAMES) from error


def as_read(number: int, shape: tuple[int, ...], scheme: str) -> torch.Tensor:
    """Return a tensor of a file as diffusers converts it, without content but for the scales that must be equal."""
    content = torch.empty(shape, device="meta")
    if not scheme:
        return content
    own = torch.tensor(number) if scheme == "nvfp4" else None
    return BFLQuantizedParameter(content, KINDS[scheme], content, own, own)


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

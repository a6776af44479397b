"""A model as its library prepares it for quantization: on the meta device, with nothing loaded.

Part of the child process that asks the libraries; see `pipeline.backends.oracle.worker`.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from typing import Any

from pipeline.backends.oracle.conversion import ConversionRequest
from pipeline.backends.oracle.quirks import Quirks
from pipeline.worker.child import WorkerError


@dataclass(frozen=True)
class Place:
    """Where a tensor of the source goes: the model's tensor that takes it, and the name it is saved under."""

    parameter: str
    written: str


@dataclass
class Followed:
    """What the library's loader and writer do with the source's tensors.

    Attributes:
        places: Every tensor that is written, by its name in the source, in the order in which the library writes.
        repeated: Tensors that are not written because another holds the same, by name: the name of that other.
    """

    places: dict[str, Place]
    repeated: dict[str, str] = field(default_factory=dict)


@dataclass
class Prepared:
    """A model on the meta device after the library's quantizer has worked on it.

    Attributes:
        model: The model, with the library's own modules in place of those it converts.
        quantizer: The library's quantizer.
        modules: The model's modules as they were before, a shared one under each of its names.
        parameters: Its parameters and persistent buffers as they were before, in order.
        quirks: What its backend does beside what the quantizer says.
        fp32: Names that diffusers keeps in float32.
    """

    model: Any
    quantizer: Any
    modules: dict[str, Any]
    parameters: dict[str, Any]
    quirks: Quirks
    fp32: tuple[str, ...] = ()

    def linears(self) -> list[str]:
        """Return the names of the modules whose weight the scheme may take: Linear and GPT-2's ``Conv1D``."""
        from transformers.pytorch_utils import Conv1D

        torch = sys.modules["torch"]
        return [name for name, module in self.modules.items() if isinstance(module, (torch.nn.Linear, Conv1D))]

    def converted(self) -> set[str]:
        """Return the names of the modules whose ``weight`` the library will quantize."""
        return {name for name in self.linears() if self.takes(f"{name}.weight")}

    def quantizes(self, parameter: str) -> bool:
        """Return whether a tensor of the model is a weight that the library will quantize."""
        return parameter.endswith(".weight") and self.takes(parameter)

    def takes(self, parameter: str) -> bool:
        """Return whether the library's own loader would quantize a parameter, and its backend not pass it over."""
        if hasattr(self.quantizer, "param_needs_quantization"):
            taken = bool(self.quantizer.param_needs_quantization(self.model, parameter))
        else:
            taken = bool(self.quantizer.check_if_quantized_param(self.model, None, parameter, {}))
        return taken and not self.quirks.passes_over(self, parameter)


def known_class(package: Any, name: str) -> Any:
    """Return the component's class from its package, never from anywhere else.

    Raises:
        WorkerError: The package has no such class.
    """
    cls = getattr(package, name, None)
    if not isinstance(cls, type) or not hasattr(cls, "from_pretrained"):
        raise WorkerError(
            "source",
            f"The installed {package.__name__} has no model class {name}.",
            "Only classes of the library itself are loaded; custom code is never run.",
        )
    return cls


def refuse_strangers(question: ConversionRequest, strangers: set[str]) -> None:
    """Refuse tensors that the class has no use for.

    Raises:
        WorkerError: There are some.
    """
    if strangers:
        first = min(strangers)
        raise WorkerError("source", f"{question.class_name} has no tensor {first!r} (one of {len(strangers)}).")


def refuse_missing(question: ConversionRequest, missing: set[str]) -> None:
    """Refuse a source that lacks tensors of the class.

    Raises:
        WorkerError: It does.
    """
    if missing:
        rest = f" (one of {len(missing)})" if len(missing) > 1 else ""
        what = f"The tensor {min(missing)!r}{rest} of {question.class_name} is missing from the source."
        raise WorkerError("source", what)


def refuse_shape(question: ConversionRequest, source: str, shape: tuple[int, ...], wanted: tuple[int, ...]) -> None:
    """Refuse a tensor of another shape than the class wants.

    Raises:
        WorkerError: It has another shape.
    """
    if shape != wanted:
        what = f"The tensor {source!r} has shape {list(shape)}, {question.class_name} wants {list(wanted)}."
        raise WorkerError("source", what)

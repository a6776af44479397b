"""What a quantization library does beside what its quantizer says, as the child process that asks needs to know it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pipeline.backends.oracle.conversion import ConversionRequest
    from pipeline.backends.oracle.model import Prepared


@dataclass(frozen=True)
class Piece:
    """One of the tensors that a quantized weight becomes, whose name tells how all of them are written.

    Attributes:
        name: What stands in its name for ``weight``.
        alone: Whether no tensor of the weight's own name is written beside it.
    """

    name: str
    alone: bool = False


def takes_all(prepared: Prepared, parameter: str) -> bool:  # noqa: ARG001  as backends that look
    """Pass nothing over."""
    return False


def refuses_none(question: ConversionRequest, prepared: Prepared) -> None:
    """Refuse no model."""


def left_to_library(settings: dict[str, Any]) -> Any:
    """Have the library find its quantizer by the name of the method."""


def as_loaded(prepared: Prepared, parameter: str, dtype: str) -> str:  # noqa: ARG001  as backends that look
    """Write what is not quantized in the dtype that it has once it is loaded."""
    return dtype


def for_its_own_reasons(prepared: Prepared, module: str) -> str:  # noqa: ARG001  as backends that know
    """Know no reason but the library's."""
    return ""


def alone(prepared: Prepared, module: str) -> str:  # noqa: ARG001  as backends that look
    """Quantize each weight by itself."""
    return ""


def written_whole(config: Any) -> None:
    """Name no piece: whoever loads the weight finds it under its own name."""


@dataclass(frozen=True)
class Quirks:
    """What a library does; the defaults are those of one that does what its quantizer says.

    Attributes:
        passes_over: Whether it leaves a weight of a model as it is, without a word, that its quantizer would take.
        refuse: Raises a `WorkerError` for a model that it fails on.
        piece: Returns what it makes of a weight in transformers, given its config object there.
        quantizer: Returns what diffusers' models are prepared with, given the ``quantization_config``, where the
            library has no quantizer that makes what it reads.
        preparing: Returns what transformers' models are prepared with, likewise.
        stores: Returns the dtype in which a tensor is written that is not quantized, given that it has once loaded.
        left_because: Returns why a module stays as it is that nobody asked to keep; empty where only the library knows.
        together: Returns the name of what the weight of a module is quantized as one with others of that name, so that
            they share what a whole tensor has; empty where it is quantized by itself.
        casts_float32: Whether it takes what a model keeps in float32, and casts that to the dtype asked for first.
        keeps_dtype: Whether its tensors say that they have the dtype that the weight had.
    """

    passes_over: Callable[[Prepared, str], bool] = takes_all
    refuse: Callable[[ConversionRequest, Prepared], None] = refuses_none
    piece: Callable[[Any], Piece | None] = written_whole
    quantizer: Callable[[dict[str, Any]], Any] = left_to_library
    preparing: Callable[[dict[str, Any]], Any] = left_to_library
    stores: Callable[[Prepared, str, str], str] = as_loaded
    left_because: Callable[[Prepared, str], str] = for_its_own_reasons
    together: Callable[[Prepared, str], str] = alone
    casts_float32: bool = False
    keeps_dtype: bool = False

"""What torchao 0.18 does beside what the quantizers of its users say; part of child processes."""

from __future__ import annotations

from typing import Any

from pipeline.backends.oracle.conversion import ConversionRequest
from pipeline.backends.oracle.model import Prepared
from pipeline.backends.oracle.quirks import Piece, Quirks
from pipeline.worker.child import WorkerError


def passes_over(prepared: Prepared, parameter: str) -> bool:
    """Return whether ``quantize_`` leaves a weight as it is, without a word, for its module or shape."""
    from torchao.quantization import Float8DynamicActivationFloat8WeightConfig, Int4WeightOnlyConfig
    from torchao.quantization.quant_api import _is_linear
    from torchao.quantization.utils import _fp8_mm_compat

    module = prepared.model.get_submodule(parameter.rpartition(".")[0])
    config = prepared.quantizer.quantization_config.get_apply_tensor_subclass()
    if isinstance(config, Int4WeightOnlyConfig):
        return bool(module.weight.shape[-1] % config.group_size)
    if isinstance(config, Float8DynamicActivationFloat8WeightConfig) and not _fp8_mm_compat(module.weight):
        return True
    return not _is_linear(module)


def left_because(prepared: Prepared, name: str) -> str:
    """Return why a module stays as it is that nobody asked to keep, where it is for its rows."""
    from torchao.quantization import Int4WeightOnlyConfig

    config = prepared.quantizer.quantization_config.get_apply_tensor_subclass()
    columns = prepared.model.get_submodule(name).weight.shape[-1]
    if not isinstance(config, Int4WeightOnlyConfig) or columns % config.group_size == 0:
        return ""
    return f"no group of {config.group_size} divides its rows of {columns}"


def refuse(question: ConversionRequest, prepared: Prepared) -> None:
    """Refuse a class that transformers fails to quantize with torchao: it looks for input embeddings in all of them.

    Raises:
        WorkerError: The class does not say which are its input embeddings.
    """
    if question.library == "transformers" and prepared.converted():
        try:
            prepared.model.get_input_embeddings()
        except NotImplementedError as error:
            what = f"transformers cannot quantize {question.class_name} with torchao: it names no input embeddings."
            raise WorkerError("recipe", what, "Choose another backend for this component.") from error


def piece(config: Any) -> Piece:  # noqa: ARG001  the same for every scheme
    """Return the codes, which are written beside their scales and under no name of the weight's own."""
    return Piece("_weight_qdata", alone=True)


QUIRKS = Quirks(passes_over, refuse, piece, left_because=left_because, keeps_dtype=True)

"""What transformers and compressed-tensors 0.20 make of a model's Linear layers; part of child processes.

transformers loads what is quantized so and quantizes nothing itself; llm-compressor does, by the functions that are
called here.
"""

from __future__ import annotations

import json
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
import transformers
from compressed_tensors.compressors import ModelCompressor
from compressed_tensors.quantization.utils import is_module_quantized
from transformers.quantizers.quantizer_compressed_tensors import CompressedTensorsHfQuantizer

from pipeline.backends.artifact import CONFIG
from pipeline.backends.compressed_tensors import divided_by
from pipeline.backends.oracle.conversion import ConversionRequest
from pipeline.backends.oracle.model import Prepared
from pipeline.backends.oracle.quirks import Piece, Quirks
from pipeline.source.fused import fused
from pipeline.worker.child import WorkerError

HEAD = "output embeddings, which llm-compressor leaves alone as well"


class Asked(CompressedTensorsHfQuantizer):  # type: ignore[misc]
    """transformers' quantizer, as of a checkpoint whose Linear layers are all quantized that may be.

    Args:
        settings: What a user asks for: groups of layers, and the modules that are left alone.
    """

    def __init__(self, settings: dict[str, Any]) -> None:
        super().__init__(transformers.CompressedTensorsConfig.from_dict(settings))
        self.validate_environment()
        self.settings = settings

    def _process_model_before_weight_loading(self, model: Any, **further: Any) -> None:
        """Put the library's layers in the places of those that are quantized."""
        self.compressor.quantization_config.ignore = left(model, self.settings)
        super()._process_model_before_weight_loading(model, **further)

    def param_needs_quantization(self, model: Any, name: str, **_further: Any) -> bool:
        """Return whether a parameter is the weight of one of those layers."""
        return bool(is_module_quantized(model.get_submodule(name.rpartition(".")[0])))

    def postprocess_model(self, model: Any, **_further: Any) -> None:
        """Say in the model's config what the library would, if there is anything to say."""
        compressor = ModelCompressor.from_pretrained_model(model)
        if compressor.quantization_config is None:
            return
        with TemporaryDirectory() as folder:
            compressor.update_config(folder)
            written = json.loads((Path(folder) / CONFIG).read_text())
        model.config.quantization_config = written["quantization_config"]


def left(model: Any, settings: dict[str, Any]) -> list[str]:
    """Return the names of the Linear layers that stay as they are."""
    named = {*settings["ignore"]}
    return [
        name
        for name, module in model.named_modules(remove_duplicate=False)
        if isinstance(module, torch.nn.Linear) and (name in named or reason(model, module, settings))
    ]


def reason(model: Any, module: Any, settings: dict[str, Any]) -> str:
    """Return why a module stays as it is that nobody asked to keep; empty where it need not."""
    if module is model.get_output_embeddings():
        return HEAD
    group = divided_by(settings)
    columns = module.in_features if isinstance(module, torch.nn.Linear) else group
    return f"no group of {group} divides its rows of {columns}" if columns % group else ""


def together(prepared: Prepared, name: str) -> str:
    """Return what servers load a layer as with others, if its scheme has a scale for a whole tensor."""
    (group,) = prepared.quantizer.settings["config_groups"].values()
    columns = prepared.modules[name].in_features
    return f"{fused(name)} of {columns}" if group["weights"]["strategy"] == "tensor_group" and fused(name) else ""


def left_because(prepared: Prepared, name: str) -> str:
    """Return why a module stays as it is that nobody asked to keep."""
    return reason(prepared.model, prepared.model.get_submodule(name), prepared.quantizer.settings)


def refuse(question: ConversionRequest, prepared: Prepared) -> None:
    """Refuse what transformers would not load again, experts in one tensor, and layers that servers do not load so.

    No layer of this library holds such experts, and vLLM would look for those it has. It loads some layers as one, and
    ends where only some of them are quantized. transformers 5.23 calls what initializes weights of a model that has all
    of them, too, which for some classes reaches into layers.

    Raises:
        WorkerError: The model is such a one.
    """
    for name, parameter in prepared.parameters.items():
        if parameter.ndim == 3 and "expert" in name:
            what = f"{question.class_name} holds the experts of {name!r} in one tensor, of which compressed-tensors"
            remedy = "Choose another backend for this component."
            raise WorkerError("recipe", f"{what} quantizes none: it takes Linear layers.", remedy)
    taken = prepared.converted()
    beside = {fused(name): name for name in sorted(taken) if fused(name)}
    for name in prepared.linears():
        other = beside.get(fused(name))
        if name not in taken and other and not left_because(prepared, name):
            what = (
                f"keep: leaves {name} as it is, and {other} not: servers such as vLLM load both as one layer, and end"
            )
            raise WorkerError(
                "keep", f"{what} where only some of it is quantized.", f"Keep {other} as well, or neither."
            )
    try:
        prepared.model.initialize_weights()
    except AttributeError as error:
        what = f"transformers {transformers.__version__} fails to load {question.class_name} of packed codes: it looks"
        remedy = "Choose fp8-dynamic, whose codes are the weight, or another backend."
        raise WorkerError("recipe", f"{what} for the weights of layers that have none.", remedy) from error


def piece(config: Any) -> Piece:
    """Return the scales, beside which float8 is written as the weight, or packed codes under a name of their own."""
    whole = config.quantization_config.format == "float-quantized"
    return Piece("weight_scale") if whole else Piece("weight_packed", alone=True)


QUIRKS = Quirks(refuse=refuse, piece=piece, preparing=Asked, left_because=left_because, together=together)

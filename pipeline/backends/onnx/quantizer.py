"""What becomes of a component as a graph, told to transformers as its own quantizers do; part of child processes.

transformers knows no method ``onnx``. Its public registry takes one, so that a plan finds names, dtypes and what is
kept by the way of every other backend.
"""

from __future__ import annotations

import re
from typing import Any

from transformers.quantizers.auto import register_quantization_config, register_quantizer
from transformers.quantizers.base import HfQuantizer
from transformers.utils.quantization_config import QuantizationConfigMixin


@register_quantization_config("onnx")
class GraphConfig(QuantizationConfigMixin):  # type: ignore[misc]
    """How a graph is quantized: the scheme, its options, and the modules that are left alone."""

    def __init__(self, modules_to_not_convert: list[str] | None = None, **settings: Any) -> None:
        for name, value in settings.items():
            setattr(self, name, value)
        self.modules_to_not_convert = modules_to_not_convert or []


@register_quantizer("onnx")
class GraphQuantizer(HfQuantizer):  # type: ignore[misc]
    """Tells which weights are quantized."""

    def param_needs_quantization(self, model: Any, param_name: str, **_further: Any) -> bool:
        """Return whether a parameter is taken: a Linear's weight, and a table's that is taller than wide."""
        name, _, leaf = param_name.rpartition(".")
        return leaf == "weight" and takes(model.get_submodule(name), name, self.quantization_config)

    @property
    def is_trainable(self) -> bool:
        """Whether it is trained on: never."""
        return False

    def is_serializable(self) -> bool:
        """Return whether transformers saves it: never, it is a graph."""
        return False


def takes(module: Any, name: str, config: Any) -> bool:
    """Return whether the weight of a module is quantized."""
    import torch

    if any(re.fullmatch(pattern, name) for pattern in config.modules_to_not_convert):
        return False
    if isinstance(module, torch.nn.Embedding):
        return bool(config.embeddings) and module.num_embeddings > module.embedding_dim
    return isinstance(module, torch.nn.Linear)

"""What becomes of a model of transformers as a GGUF, told to the library as its own quantizers do; and its opening.

transformers has a quantizer that reads GGUF and none that makes it. The library unpacks all blocks while it loads.
Part of child processes, which need no diffusers for it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from transformers import AutoConfig, GenerationConfig
from transformers.quantizers.base import HfQuantizer
from transformers.utils.quantization_config import QuantizationConfigMixin

from pipeline.backends.gguf import FORM, matches, type_of
from pipeline.backends.gguf.llama_cpp import ARCHITECTURES, named
from pipeline.backends.oracle.conversion import ConversionRequest
from pipeline.backends.oracle.model import Prepared
from pipeline.kernels.ggml import TYPES
from pipeline.source.gguf import GGUFHeader, parse_header
from pipeline.worker.child import WorkerError

GENERATION: Final = "generation_config.json"
AS_LLAMA: Final = frozenset({"mistral"})  # whose names in a file transformers 5.23 finds only where they are a Llama's


class Wanted(QuantizationConfigMixin):  # type: ignore[misc]
    """What a user asks for: the scheme, its options, and the modules that are left alone."""

    def __init__(self, settings: dict[str, Any]) -> None:
        self.quant_method = settings["quant_method"]
        self.settings = settings


class Asked(HfQuantizer):  # type: ignore[misc]
    """Tells which weights are in blocks: those of Linear layers, and the table of the vocabulary.

    Args:
        settings: What a user asks for.
    """

    def __init__(self, settings: dict[str, Any]) -> None:
        super().__init__(Wanted(settings))
        self.settings = settings
        self._left = {*(settings.get("modules_to_not_convert") or ())}

    def param_needs_quantization(self, model: Any, param_name: str, **_further: Any) -> bool:
        """Return whether a parameter is in blocks."""
        name, _, leaf = param_name.rpartition(".")
        module = model.get_submodule(name)
        if leaf != "weight" or name in self._left:
            return False
        if not isinstance(module, torch.nn.Linear) and module is not model.get_input_embeddings():
            return False
        return bool(type_of(self.settings["scheme"], self.settings, param_name, module.weight.shape[-1]))

    @property
    def is_trainable(self) -> bool:
        """Whether it is trained on: never."""
        return False

    def is_serializable(self) -> bool:
        """Return whether transformers saves it: never, it has no writer of GGUF."""
        return False


def refuse_unknown(question: ConversionRequest, prepared: Prepared) -> None:
    """Refuse names under ``layers`` that the model has not, and diffusers' or a family's names.

    Raises:
        WorkerError: There are some.
    """
    table = prepared.model.get_input_embeddings()
    names = [*prepared.linears(), *(name for name, one in prepared.modules.items() if one is table)]
    for pattern in question.quantization["layers"]:
        if not any(matches(name, pattern) for name in names):
            remedy = f"There are, for example, {', '.join(names[:3])}."
            raise WorkerError("recipe", f"layers: {pattern!r} names no Linear module, nor the vocabulary.", remedy)
    if question.quantization["names"] != "diffusers":
        what = "names: is a word for components of diffusers; one of transformers has llama.cpp's names."
        raise WorkerError("recipe", what, "Leave it out.")


def header_of(path: Path) -> GGUFHeader:
    """Return what a file says of itself."""
    content = np.memmap(path, np.uint8, "r")
    return parse_header(lambda at, length: content[at : at + length].tobytes(), content.size, str(path))


def opened(kind: Any, folder: Path, dtype: torch.dtype) -> Any:
    """Return a model as its card says to load it.

    The config is the folder's: of a file's keys transformers (5.23) makes another one for some, such as a T5 with ReLU
    or a Llama without stretched positions.

    Args:
        kind: Its class.
        folder: Its config, and the one file of its weights.
        dtype: What it computes in.
    """
    (file,) = FORM.weights_in(folder)
    config = AutoConfig.from_pretrained(folder)
    if config.model_type in AS_LLAMA:
        config.model_type = "llama"
    model = kind.from_pretrained(folder, gguf_file=file, config=config, dtype=dtype)
    model.config.model_type = type(model.config).model_type
    stored, known = header_of(folder / file).tensors, ARCHITECTURES[type(model).__name__]
    for name, parameter in model.named_parameters():
        slot = stored.get(named(known, type(model).__name__, name))
        if slot and TYPES[slot.dtype].block > 1:
            parameter.unpacked_of = slot.dtype  # by which whoever looks at it knows that it was in blocks
    if model.can_generate() and (folder / GENERATION).is_file():  # which is not read beside such a file
        model.generation_config = GenerationConfig.from_pretrained(folder)
    return model

"""What diffusers reads of a GGUF: asked of its own quantizer, and loaded as its users do; part of child processes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gguf
import torch
from diffusers import GGUFQuantizationConfig
from diffusers.quantizers.gguf.gguf_quantizer import GGUFQuantizer
from diffusers.quantizers.gguf.utils import GGUFLinear, GGUFParameter

from pipeline.backends.gguf import FORM, matches, models, type_of
from pipeline.backends.oracle import linears
from pipeline.backends.oracle.conversion import ConversionRequest
from pipeline.backends.oracle.model import Prepared
from pipeline.kernels.gguf import encode
from pipeline.source.gguf import size_of
from pipeline.worker.child import WorkerError


class Wanted(linears.Wanted, GGUFQuantizationConfig):  # type: ignore[misc]
    """What a user asks for, with what diffusers' own configuration has beside."""

    def __init__(self, settings: dict[str, Any]) -> None:
        GGUFQuantizationConfig.__init__(self)
        super().__init__(settings)


class Asked(linears.AsOfFile, GGUFQuantizer):  # type: ignore[misc]
    """diffusers' quantizer, given a file of which every matrix that may be is in blocks.

    Args:
        settings: What a user asks for: the scheme, and the modules that are left alone.
    """

    def __init__(self, settings: dict[str, Any]) -> None:
        super().__init__(Wanted(settings), pre_quantized=True)
        self.settings = settings

    def stored(self, name: str, module: Any) -> Any:
        """Return the weight of a layer in blocks, where there are some for it."""
        kind = type_of(self.settings["scheme"], self.settings, f"{name}.weight", module.in_features)
        return parameter(module.weight.shape, kind) if kind else None

    def check_if_quantized_param(self, model: Any, _value: Any, name: str, *_further: Any, **_more: Any) -> bool:
        """Return whether a parameter is the weight of one of those layers."""
        return isinstance(model.get_submodule(name.rpartition(".")[0]), GGUFLinear)


def quantizer(settings: dict[str, Any]) -> Asked:
    """Return what diffusers is asked with."""
    return Asked(settings)


def parameter(shape: tuple[int, ...], kind: str) -> GGUFParameter:
    """Return a weight in blocks, without content."""
    content = torch.empty(*shape[:-1], size_of(kind, shape[-1:]), dtype=torch.uint8, device="meta")
    return GGUFParameter(content, quant_type=gguf.GGMLQuantizationType[kind])


def refuse_unreadable(question: ConversionRequest, prepared: Prepared) -> None:
    """Refuse a component that no library reads from a file of GGUF, or of which ``layers`` names what is not there.

    Raises:
        WorkerError: It does.
    """
    if question.library == "transformers":
        models.refuse_unknown(question, prepared)
        return
    linears.refuse_unreadable(question, prepared)
    for pattern in question.quantization["layers"]:
        if not any(matches(name, pattern) for name in prepared.linears()):
            remedy = f"There are, for example, {', '.join(prepared.linears()[:3])}."
            raise WorkerError("recipe", f"layers: {pattern!r} names no Linear module.", remedy)


def left_because(prepared: Prepared, name: str) -> str:
    """Return why a module is in no blocks that nobody asked to keep."""
    columns, settings = prepared.modules[name].in_features, prepared.quantizer.settings
    fits = type_of(settings["scheme"], settings, f"{name}.weight", columns)
    return "" if fits else f"no block divides its rows of {columns}"


def stored_as(prepared: Prepared, name: str, dtype: str) -> str:
    """Return the torch dtype in which a tensor is written that is in no blocks.

    diffusers takes bfloat16 for blocks, which it unpacks in Linear layers alone; as float32 it loses nothing. llama.cpp
    wants float32 for what is no matrix.
    """
    if isinstance(prepared.quantizer, models.Asked):
        return dtype if prepared.parameters[name].ndim > 1 else "float32"
    return "float16" if dtype == "float16" and prepared.parameters[name].ndim > 1 else "float32"


def quantized(weight: torch.Tensor, kind: str) -> torch.Tensor:
    """Return the bytes of a weight in blocks, by the gguf package; by our kernels where that only unpacks."""
    values = weight.detach().cpu().float().numpy()
    try:
        blocks = gguf.quants.quantize(values, gguf.GGMLQuantizationType[kind])
    except NotImplementedError:
        blocks = encode(kind, values.reshape(-1))[0].reshape(len(values), -1)
    return torch.from_numpy(blocks)


def opened(kind: Any, folder: Path, dtype: torch.dtype) -> Any:
    """Return a component as its card says to load it, to compute in a dtype."""
    return linears.opened(kind, folder, FORM, GGUFQuantizationConfig(compute_dtype=dtype))

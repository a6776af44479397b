"""Load a pipeline as its users do, and where this machine forbids that, say what was done instead.

On a GPU nothing is done instead. Without one, three things that a library does would stop or crash a sound checkpoint;
each is stepped round here, in the validating process only, and each leaves its sentence in the report and the card.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

AS_PUBLISHED = "as published: from_pretrained"
REFUSAL_LIFTED = (
    "bitsandbytes on a CPU: diffusers' refusal of machines without a GPU was lifted in the validating process"
)
NOT_PACKED = (
    "bitsandbytes on a CPU: layers computed from their stored form, because its AVX512-BF16 packing cannot hold"
    " their shapes: {count}"
)


def quantized_components(model: Path) -> dict[str, tuple[str, str]]:
    """Return for every quantized component its library (``diffusers`` or ``transformers``) and quant_method."""
    index = json.loads((model / "model_index.json").read_text(encoding="utf-8"))
    found = {}
    for name, entry in index.items():
        config = model / name / "config.json"
        if isinstance(entry, list) and config.is_file():
            method = (json.loads(config.read_text(encoding="utf-8")).get("quantization_config") or {}).get(
                "quant_method"
            )
            if method:
                found[name] = (str(entry[0]), str(method))
    return found


def load(model: Path, dtype: str) -> tuple[Any, str]:
    """Load a pipeline onto the GPU if there is one, else onto the CPU.

    Args:
        model: A whole pipeline, with ``model_index.json``.
        dtype: Name of a torch dtype for everything that is not quantized.

    Returns:
        The pipeline, and one sentence on how it was loaded.
    """
    import torch
    from diffusers import DiffusionPipeline

    given = {"dtype": getattr(torch, dtype)}
    if torch.cuda.is_available():
        return DiffusionPipeline.from_pretrained(model, **given).to("cuda"), AS_PUBLISHED
    extra, said = _without_a_gpu(quantized_components(model))
    pipe = DiffusionPipeline.from_pretrained(model, **given, **extra)
    if count := _leave_unpackable(pipe):
        said.append(NOT_PACKED.format(count=count))
    return pipe, "; ".join(["from_pretrained", *said]) if said else AS_PUBLISHED


def device_of(pipe: Any) -> str:
    """Return ``cpu``, or ``cuda`` with the GPU's name."""
    import torch

    return f"cuda ({torch.cuda.get_device_name()})" if pipe.device.type == "cuda" else "cpu"


def _without_a_gpu(quantized: dict[str, tuple[str, str]]) -> tuple[dict[str, Any], list[str]]:
    """Return the further arguments of ``from_pretrained`` that a CPU needs, and a sentence for each."""
    extra: dict[str, Any] = {}
    said = []
    if ("diffusers", "bitsandbytes") in quantized.values():
        _lift_refusal()
        extra["device_map"] = "cpu"  # without it diffusers moves bitsandbytes weights to torch.cuda.current_device()
        said.append(REFUSAL_LIFTED)
    return extra, said


def _lift_refusal() -> None:
    """Make diffusers 0.42's check for a GPU pass: everything behind it works on a CPU.

    transformers has dropped the same check (``validate_bnb_backend_availability``) and needs no lifting.
    """
    from diffusers.quantizers.bitsandbytes import bnb_quantizer

    for quantizer in (bnb_quantizer.BnB4BitDiffusersQuantizer, bnb_quantizer.BnB8BitDiffusersQuantizer):
        quantizer.validate_environment = lambda *_, **__: None


def _leave_unpackable(pipe: Any) -> int:
    """Keep 4-bit layers that bitsandbytes cannot repack for AVX512-BF16 in their stored form; return how many.

    Its ``_convert_weight_packed_for_cpu`` (0.50) wants rows in multiples of 32 and columns in multiples of the block.
    """
    layers = [layer for layer in _four_bit_layers(pipe) if layer.support_avx512bf16_for_cpu and not _packable(layer)]
    for layer in layers:
        layer.support_avx512bf16_for_cpu = False
    return len(layers)


def _four_bit_layers(pipe: Any) -> list[Any]:
    """Return every bitsandbytes 4-bit layer; looks for the library only where a component was loaded with it."""
    models = [part for part in pipe.components.values() if getattr(part, "is_loaded_in_4bit", False)]
    if not models:
        return []
    from bitsandbytes.nn import Linear4bit

    return [layer for model in models for layer in model.modules() if isinstance(layer, Linear4bit)]


def _packable(layer: Any) -> bool:
    state = layer.weight.quant_state
    rows, columns = state.shape
    return bool(rows % 32 == 0 and columns % state.blocksize == 0)

"""Pipelines of diffusers: load one as its users do, and call it; what this machine forbids is stepped round and told.

On a GPU nothing is done instead. Without one, three things that a library does would stop or crash a sound checkpoint;
each is stepped round here, in the validating process only, and each leaves its sentence in the report and the card.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipeline.tasks.protocol import Given, LoadedModel

CALLBACKS = frozenset({"callback_on_step_end", "callback_on_step_end_tensor_inputs"})
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


def load(model: Path, dtype: str, loader: str = "DiffusionPipeline") -> LoadedModel:
    """Load a pipeline onto the GPU if there is one, else onto the CPU.

    Args:
        model: A whole pipeline, with ``model_index.json``.
        dtype: Name of a torch dtype for everything that is not quantized.
        loader: The class of diffusers that loads it.
    """
    import diffusers
    import torch

    kind = getattr(diffusers, loader)
    given = {"dtype": getattr(torch, dtype)}
    said: list[str] = []
    if torch.cuda.is_available():
        pipe = kind.from_pretrained(model, **given).to("cuda")
    else:
        extra, said = _without_a_gpu(quantized_components(model))
        pipe = kind.from_pretrained(model, **given, **extra)
        if count := _leave_unpackable(pipe):
            said.append(NOT_PACKED.format(count=count))
    pipe.set_progress_bar_config(disable=True)
    how = "; ".join(["from_pretrained", *said]) if said else AS_PUBLISHED
    return LoadedModel(pipe, pipe.components, pipe.device, how)


def draw(loaded: LoadedModel, seed: int, call: Mapping[str, Any]) -> Given:
    """Draw one picture, values in [0, 1] of shape (height, width, channels).

    As values instead of a finished picture, because diffusers turns NaN into black pixels without a word. Besides are
    the ``latents`` that were decoded, without their first dimension, where the pipeline lets them be seen.

    Args:
        loaded: The pipeline.
        seed: The seed of the noise.
        call: What the pipeline is called with, except what is set here.
    """
    import torch

    pipe = loaded.model
    latents: list[Any] = []

    def see(_pipe: Any, _step: int, _time: Any, tensors: dict[str, Any]) -> dict[str, Any]:
        latents[:] = [tensors.get("latents")]
        return tensors

    further = {"callback_on_step_end": see} if _tells_latents(pipe) and not CALLBACKS & call.keys() else {}
    noise = torch.Generator("cpu").manual_seed(seed)
    output = pipe(generator=noise, output_type="np", **call, **further)
    blocked = getattr(output, "nsfw_content_detected", None) or [False]
    besides = {"latents": latents[0][0].float().cpu().numpy()} if latents and latents[0] is not None else {}
    return Given(output.images[0], besides, "blocked by the pipeline's safety checker" if blocked[0] else "")


def _tells_latents(pipe: Any) -> bool:
    """Tell whether a call can be watched step by step, as those of most pipelines can."""
    return "callback_on_step_end" in inspect.signature(pipe.__call__).parameters


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

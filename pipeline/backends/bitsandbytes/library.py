"""What bitsandbytes 0.50 does beside what the quantizers of its users say; part of child processes.

Without a GPU, three things that a library does would stop or crash a sound checkpoint. Each is stepped round in the
validating process only, and leaves its sentence in the report and the card.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pipeline.backends.loader import Lift
from pipeline.backends.oracle.quirks import Piece, Quirks

REFUSAL_LIFTED = (
    "bitsandbytes on a CPU: diffusers' refusal of machines without a GPU was lifted in the validating process"
)
NOT_PACKED = (
    "bitsandbytes on a CPU: layers computed from their stored form, because its AVX512-BF16 packing cannot hold"
    " their shapes: {count}"
)


def piece(config: Any) -> Piece:
    """Return the scales, beside which the codes are written as the weight."""
    return Piece("SCB" if config.load_in_8bit else "weight.absmax")


def lift_refusal() -> str:
    """Make diffusers 0.42's check for a GPU pass: everything behind it works on a CPU."""
    from diffusers.quantizers.bitsandbytes import bnb_quantizer

    for quantizer in (bnb_quantizer.BnB4BitDiffusersQuantizer, bnb_quantizer.BnB8BitDiffusersQuantizer):
        quantizer.validate_environment = lambda *_, **__: None
    return REFUSAL_LIFTED


def refuses_nothing() -> str:
    """Lift nothing: transformers has dropped the same check (``validate_bnb_backend_availability``)."""
    return ""


def leave_unpackable(parts: Mapping[str, Any]) -> str:
    """Keep 4-bit layers that bitsandbytes cannot repack for AVX512-BF16 in their stored form, and say how many.

    Its ``_convert_weight_packed_for_cpu`` (0.50) wants rows in multiples of 32 and columns in multiples of the block.
    """
    layers = [layer for layer in _four_bit_layers(parts) if layer.support_avx512bf16_for_cpu and not _packable(layer)]
    for layer in layers:
        layer.support_avx512bf16_for_cpu = False
    return NOT_PACKED.format(count=len(layers)) if layers else ""


def _four_bit_layers(parts: Mapping[str, Any]) -> list[Any]:
    """Return the 4-bit layers of all components."""
    from bitsandbytes.nn import Linear4bit

    models = [part for part in parts.values() if getattr(part, "is_loaded_in_4bit", False)]
    return [layer for model in models for layer in model.modules() if isinstance(layer, Linear4bit)]


def _packable(layer: Any) -> bool:
    state = layer.weight.quant_state
    rows, columns = state.shape
    return bool(rows % 32 == 0 and columns % state.blocksize == 0)


QUIRKS = Quirks(piece=piece)
# Without device_map diffusers moves the weights to torch.cuda.current_device().
DIFFUSERS_ON_CPU = Lift(lift_refusal, leave_unpackable, {"device_map": "cpu"})
TRANSFORMERS_ON_CPU = Lift(refuses_nothing, leave_unpackable)

"""What a plan refuses before anything is read but headers."""

from __future__ import annotations

import pytest

from pipeline.checkpoint.layout import Component
from pipeline.checkpoint.linears import Answer, Conversion
from pipeline.checkpoint.safetensors import Slot
from pipeline.errors import RecipeError
from pipeline.plan import lay_out_result
from pipeline.recipe import Quantization


def test_a_component_of_which_nothing_would_be_quantized_is_refused() -> None:
    component = Component(name="vae", library="diffusers", class_name="AutoencoderKL", small=(), weights=("vae/a",))
    slots = {"vae/a": {"conv.weight": Slot("BF16", (4, 4, 3, 3), 0, 288)}}
    answer = Answer(
        conversions={"conv.weight": Conversion(parameter="conv.weight", dtype="bfloat16")},
        parameters=("conv.weight",),
        kept={},
        config="{}",
    )
    quantization = Quantization(backend="torchao", scheme="int8-weight-only")
    with pytest.raises(RecipeError, match="vae: torchao int8-weight-only takes no weight of AutoencoderKL"):
        lay_out_result(component, quantization, slots, answer)

"""What a plan refuses before anything is read but headers."""

from __future__ import annotations

from importlib import invalidate_caches
from pathlib import Path

import pytest

from pipeline.backends.oracle.conversion import Conversion, ConversionPlan, ConversionRequest, SkipRule, place_of
from pipeline.errors import RecipeError
from pipeline.plan.model import lay_out_result
from pipeline.recipe import Quantization
from pipeline.source.layout import Component
from pipeline.source.safetensors import TensorInfo


def test_a_component_of_which_nothing_would_be_quantized_is_refused() -> None:
    component = Component(name="vae", library="diffusers", class_name="AutoencoderKL", small=(), weights=("vae/a",))
    slots = {"vae/a": {"conv.weight": TensorInfo("BF16", (4, 4, 3, 3), 0, 288)}}
    answer = ConversionPlan(
        conversions={"conv.weight": Conversion(parameter="conv.weight", dtype="bfloat16")},
        parameters=("conv.weight",),
        kept={},
        config="{}",
    )
    quantization = Quantization(backend="torchao", scheme="int8-weight-only")
    with pytest.raises(RecipeError, match="vae: torchao int8-weight-only takes no weight of AutoencoderKL"):
        lay_out_result(component, quantization, slots, answer)


def test_an_answer_is_kept_by_the_version_of_whatever_library_gave_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    question = ConversionRequest(
        library="diffusers",
        class_name="FluxTransformer2DModel",
        config={},
        tensors={},
        dtype="bfloat16",
        quantization={},
        distribution="a-new-backend",
        skip=SkipRule(key="", spelling="module"),
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    places = []
    for version in ("1.0", "1.1", "1.1"):
        about = tmp_path / f"a_new_backend-{version}.dist-info"
        about.mkdir(exist_ok=True)
        (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: a-new-backend\nVersion: {version}\n")
        invalidate_caches()
        places.append(place_of(question, tmp_path))
        if version == "1.0":
            (about / "METADATA").unlink()
            about.rmdir()
    assert places[0] != places[1] == places[2]

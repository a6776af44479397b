"""What a library made whole is not made again."""

from __future__ import annotations

from pathlib import Path

from pipeline.backends.artifact import Artifact
from pipeline.backends.oracle.conversion import ConversionPlan
from pipeline.files import BuiltFile
from pipeline.plan.model import ResolvedComponent
from pipeline.plan.shards import Weights
from pipeline.quantize.whole import make_whole
from pipeline.recipe import Quantization
from pipeline.source.layout import Component

NOTHING = ConversionPlan(conversions={}, parameters=(), kept={}, config="{}")


def test_a_component_that_an_interrupted_run_made_is_taken(tmp_path: Path) -> None:
    component = Component(name="transformer", library="diffusers", class_name="FluxTransformer2DModel", small=())
    quantization = Quantization(backend="quanto", scheme="int8")
    part = ResolvedComponent(component, quantization, {}, NOTHING, Weights())
    made = Artifact(files={"a.safetensors": BuiltFile(size=1, blake3="0" * 64)}, weights=("a.safetensors",))
    journal = tmp_path / "transformer.json"
    journal.write_text(made.model_dump_json())
    assert make_whole(part, tmp_path / "nowhere", tmp_path / "out", journal, "cpu") == made

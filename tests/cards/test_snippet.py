"""The snippet of a card is what readers run for years: with today's libraries nothing in it may be on its way out."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from pipeline.backends import comfy
from pipeline.backends.comfy.library import quantized
from pipeline.card.compose import snippet_of
from pipeline.card.context import Ingredients, facts
from pipeline.card.metadata import SourceCard
from pipeline.card.render import render
from pipeline.plan.model import TargetPlan
from pipeline.recipe import Quantization
from pipeline.validate import Report
from tests.cards.conftest import asking

CALL = {"height": 16, "width": 16, "num_inference_steps": 1, "max_sequence_length": 16}


@pytest.mark.nightly
def test_the_snippet_runs_with_deprecations_as_errors(
    source: Path, plan: TargetPlan, report: Report, tmp_path: Path
) -> None:
    shown = asking(plan, call=CALL).model_copy(update={"repository": str(source)})
    snippet = tmp_path / "usage.py"
    snippet.write_text(render("diffusers.py.jinja", facts(Ingredients(shown, report, SourceCard({}), executed=True))))
    strictly = [part for kind in ("DeprecationWarning", "FutureWarning") for part in ("-W", f"error::{kind}")]
    command = [sys.executable, *strictly, snippet]
    done = subprocess.run(command, check=False, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    assert (tmp_path / "image.png").is_file()


@pytest.mark.parametrize("scheme", comfy.SCHEMES)
def test_the_snippet_reads_what_is_comfyui_s_as_comfy_kitchen_does(
    scheme: str, plan: TargetPlan, tmp_path: Path
) -> None:
    options = comfy.SCHEMES[scheme].options().model_dump()
    asked = Quantization(backend="comfy", scheme=scheme, options=options)
    part = plan.components["transformer"].model_copy(update={"quantization": asked, "file": "model.safetensors"})
    snippet = snippet_of(plan.model_copy(update={"components": {"transformer": part}}))
    imported, loaded = snippet.split("# ComfyUI computes")[0], snippet.partition("load_file(")[2]
    loop = loaded.partition("\n")[2].partition("\ntransformer = ")[0]
    weight = torch.randn((64, 512), generator=torch.Generator().manual_seed(1))
    tensors = {name: one.clone() for name, one in comfy.pack(scheme, options, "a.weight", weight).tensors.items()}
    wanted = quantized({**tensors}, "a.", torch.float32).dequantize().bfloat16()
    exec(f"{imported}\n{loop}", {"tensors": tensors})  # noqa: S102  the snippet's own lines
    assert tensors.keys() == {"a.weight"}
    assert torch.equal(tensors["a.weight"], wanted)

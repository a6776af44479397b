"""diffusers opens what was made as its own layers, with the scale of activations that the source was measured for."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from contract import cases
from contract.test_gguf import asked
from diffusers import FluxTransformer2DModel, PixArtTransformer2DModel
from diffusers.quantizers.bfl.utils import BFLFP8RLinear, BFLNVFP4Linear
from safetensors.torch import load_file

from pipeline.backends.bfl import input_scale
from pipeline.backends.bfl.library import opened
from pipeline.backends.oracle.conversion import TensorHeader, ask
from pipeline.errors import RecipeError
from pipeline.tasks.protocol import LoadedModel
from pipeline.validate import probes

KINDS = {"fp8": BFLFP8RLinear, "nvfp4": BFLNVFP4Linear}
NARROW = "x_embedder"  # has rows of 36


@pytest.mark.parametrize("scheme", KINDS)
def test_diffusers_opens_what_was_written(scheme: str, components: Path, answers: Path, tmp_path: Path) -> None:
    case = cases.Case("transformer", "bfl", scheme, keep=("proj_out",))
    folder = cases.stream_case(case, components / "transformer", answers, tmp_path / "ours").folder
    stored = load_file(cases.weights_of(folder))
    model = opened(FluxTransformer2DModel, folder, torch.bfloat16)
    plain = {name for name, module in model.named_modules() if type(module) is torch.nn.Linear}
    assert plain == (
        {"proj_out"} if scheme == "fp8" else {"proj_out", NARROW, "time_text_embed.text_embedder.linear_1"}
    )
    assert {type(module) for module in model.modules() if isinstance(module, torch.nn.Linear)} == {
        torch.nn.Linear,
        KINDS[scheme],
    }
    held = model.state_dict()
    assert held.keys() == stored.keys()
    assert [name for name in held if not torch.equal(held[name], stored[name])] == []
    file = tmp_path / probes.FILE
    probes.write_answers(LoadedModel(model, {"part": model}, torch.device("cpu"), ""), "bfloat16", file)
    taken = {name for name, module in model.named_modules() if isinstance(module, KINDS[scheme])}
    assert probes.named_in(file, "quantized") == {f"part/{name}" for name in taken}


def test_the_scale_of_activations_is_that_of_modelopt() -> None:
    assert input_scale(5.25) == torch.tensor(5.25) / (6.0 * 448.0)


def test_a_plan_says_why_a_layer_is_whole(components: Path, answers: Path) -> None:
    case = cases.Case("transformer", "bfl", "nvfp4", keep=("proj_out",))
    said = ask(cases.question_of(case, components / "transformer"), answers, "x").kept
    assert (said[NARROW], said["proj_out"]) == ("no block divides its rows of 36", "keep")


def test_what_diffusers_reads_from_no_file_is_refused_by_name(tmp_path: Path) -> None:
    other = PixArtTransformer2DModel(num_layers=1, num_attention_heads=1, attention_head_dim=8, cross_attention_dim=8)
    method = {"backend": "bfl", "quantization": {"quant_method": "bfl", "scheme": "nvfp4"}}
    questions = {
        "PixArtTransformer2DModel is none of them": asked(
            class_name="PixArtTransformer2DModel", config=dict(other.config), **method
        ),
        "'steps' is stored as I64, and a single file holds floats": asked(
            tensors={"steps": TensorHeader(dtype="I64", shape=(1,))}, **method
        ),
    }
    for sentence, question in questions.items():
        with pytest.raises(RecipeError, match=sentence):
            ask(question, tmp_path, "x")

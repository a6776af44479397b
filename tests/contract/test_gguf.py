"""A component as GGUF is what diffusers opens, and what it would not read is refused by name."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
import torch
from contract import cases
from diffusers import FluxTransformer2DModel, PixArtTransformer2DModel, ZImageTransformer2DModel

from pipeline.backends.gguf import type_of
from pipeline.backends.gguf.library import opened
from pipeline.backends.oracle.conversion import ConversionRequest, ask, ask_library
from pipeline.errors import RecipeError
from pipeline.plan.model import refuse_unfit
from pipeline.recipe import Quantization
from pipeline.source.layout import Component
from pipeline.source.safetensors import TensorHeader
from pipeline.tasks.diffusers_pipeline import load
from pipeline.trial import tiny
from pipeline.trial.worker import called
from pipeline.worker.session import error_of


def test_diffusers_opens_what_the_file_says(components: Path, answers: Path, tmp_path: Path) -> None:
    source = components / "transformer"
    ours = cases.stream_case(cases.MIXED, source, answers, tmp_path / "ours")
    loaded = opened(FluxTransformer2DModel, ours.folder, torch.bfloat16).state_dict()
    plain = FluxTransformer2DModel.from_pretrained(source, dtype=torch.bfloat16).state_dict()
    stored = {tensor.name: tensor for tensor in gguf.GGUFReader(cases.weights_of(ours.folder)).tensors}
    kinds = {name: tensor.tensor_type.name for name, tensor in stored.items()}
    assert set(kinds.values()) == {"F32", "Q4_K", "Q5_0", "Q8_0"}
    assert kinds["transformer_blocks.0.ff.net.2.weight"] == "Q4_K"  # 256 columns
    assert kinds["transformer_blocks.0.ff.net.0.proj.weight"] == "Q5_0"  # 64
    assert kinds["transformer_blocks.0.attn.to_q.weight"] == "Q8_0"  # as it is asked to be
    assert loaded.keys() == plain.keys() == stored.keys()
    for name, tensor in stored.items():
        held = loaded[name]
        if kinds[name] == "F32":
            assert torch.equal(held, plain[name])
        else:
            assert held.numpy().tobytes() == tensor.data.tobytes()
            values = torch.from_numpy(gguf.quants.dequantize(tensor.data, tensor.tensor_type))
            assert (values - plain[name].float()).norm() / plain[name].float().norm() < 0.1


def test_a_file_in_the_family_s_names_is_opened_as_one_in_diffusers_names(
    components: Path, answers: Path, tmp_path: Path
) -> None:
    opens, stored = {}, {}
    for names, case in cases.NAMED.items():
        folder = cases.stream_case(case, components / "z-image", answers, tmp_path / names).folder
        stored[names] = {one.name: one.tensor_type.name for one in gguf.GGUFReader(cases.weights_of(folder)).tensors}
        opens[names] = opened(ZImageTransformer2DModel, folder, torch.bfloat16).state_dict()
    assert stored["diffusers"]["layers.0.attention.to_k.weight"] == "Q8_0"
    assert stored["family"]["layers.0.attention.qkv.weight"] == "Q8_0"
    ours, theirs = opens["family"], opens["diffusers"]
    assert ours.keys() == theirs.keys()
    assert [name for name, held in ours.items() if not torch.equal(held, theirs[name])] == []
    assert [name for name, held in ours.items() if kind_of(held) != kind_of(theirs[name])] == []


def kind_of(held: Any) -> Any:
    """Return the type of ggml that diffusers has a tensor in; None where it is in no blocks."""
    return getattr(held, "quant_type", None)


def test_layers_that_the_family_has_in_one_tensor_are_treated_alike_or_refused(
    components: Path, answers: Path, tmp_path: Path
) -> None:
    said = r"to_q\.weight \(Q4_K\) and .*to_k\.weight \(Q8_0\) in one tensor, layers\.0\.attention\.qkv"
    with pytest.raises(RecipeError, match=said):
        cases.stream_case(cases.UNLIKE, components / "z-image", answers, tmp_path / "ours")


def test_a_plan_says_why_a_layer_is_whole(components: Path, answers: Path) -> None:
    case = cases.Case("transformer", "gguf", "q8_0", keep=("*proj_out",))
    said = ask(cases.question_of(case, components / "transformer"), answers, "x").kept
    assert said["x_embedder"] == "no block divides its rows of 36"
    assert said["proj_out"] == "keep"


@pytest.mark.parametrize(
    ("scheme", "columns", "kind"),
    [
        ("q4_k", 512, "Q4_K"), ("q4_k", 96, "Q5_0"), ("q5_k", 32, "Q5_1"), ("q6_k", 64, "Q8_0"), ("q4_k", 50, ""),
        ("q8_0", 48, ""), ("bf16", 7, "BF16"),
    ],
)  # fmt: skip
def test_a_row_that_no_block_divides_gets_the_type_that_llama_cpp_gives_it(
    scheme: str, columns: int, kind: str
) -> None:
    assert type_of(scheme, {}, "a.weight", columns) == kind


def asked(**changed: Any) -> ConversionRequest:
    """Return a question about a transformer that diffusers opens."""
    plain = {
        "library": "diffusers",
        "class_name": "FluxTransformer2DModel",
        "config": dict(FluxTransformer2DModel(num_layers=1, num_single_layers=1, num_attention_heads=1).config),
        "tensors": {},
        "dtype": "bfloat16",
        "quantization": {"quant_method": "gguf", "scheme": "q8_0", "layers": {}},
        "backend": "gguf",
    }
    return ConversionRequest(**{**plain, **changed})


def assert_refused(questions: Mapping[str, ConversionRequest]) -> None:
    """Ask all at once, and find in each refusal what it is for."""
    for sentence, said in zip(questions, ask_library([*questions.values()], "x"), strict=True):
        with pytest.raises(RecipeError, match=sentence):
            raise error_of(said, "x")


def test_what_diffusers_does_not_read_from_gguf_is_refused_by_name() -> None:
    other = PixArtTransformer2DModel(num_layers=1, num_attention_heads=1, attention_head_dim=8, cross_attention_dim=8)
    stranger = {"quant_method": "gguf", "scheme": "q8_0", "layers": {"nothing.*": "q4_0"}}
    assert_refused({
        "PixArtTransformer2DModel is none of them": asked(
            class_name="PixArtTransformer2DModel", config=dict(other.config)
        ),
        r"'steps' is stored as I64, and a single file holds floats beside its codes": asked(
            tensors={"steps": TensorHeader(dtype="I64", shape=(1,))}
        ),
        r"layers: 'nothing\.\*' names no Linear module": asked(quantization=stranger),
    })  # fmt: skip


def test_a_source_that_is_gguf_already_is_told_what_it_is() -> None:
    part = Component(
        name="transformer", library="diffusers", class_name="Flux", small=(), blocks=("transformer/a-Q8_0.gguf",)
    )
    asks = Quantization(backend="gguf", scheme="q4_0")
    with pytest.raises(RecipeError, match=r"transformer is GGUF, which somebody quantized before .*a-Q8_0\.gguf"):
        refuse_unfit(part, asks, "x")


@pytest.mark.nightly
@pytest.mark.parametrize("name", tiny.PIPELINES)
def test_a_pipeline_of_it_draws_nearly_what_its_source_does(name: str, tmp_path: Path) -> None:
    source, out = tmp_path / "source", tmp_path / "out"
    tiny.pipeline(name).save_pretrained(source)
    command = [sys.executable, "-m", "pipeline.cli", "--home", str(tmp_path / "home"), "quantize", str(source)]
    subprocess.run([*command, "--out", str(out), "--backend", "gguf", "--scheme", "q8_0"], check=True)
    drawn = []
    for folder in (source, out):
        pipe = load(folder, "bfloat16", "DiffusionPipeline").model
        call = called(source, "DiffusionPipeline")["call"]
        found = pipe(prompt="a fox", output_type="np", generator=torch.Generator().manual_seed(0), **call)
        drawn.append(np.asarray(found.frames if "frames" in found else found.images))
    assert any(out.rglob("*-Q8_0.gguf"))
    assert 0 < np.abs(drawn[0] - drawn[1]).mean() < 0.1 * drawn[0].std()

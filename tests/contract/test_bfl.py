"""diffusers opens what was made as its own layers, with the scale of activations that the source was measured for."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from contract import cases
from contract.test_gguf import asked, assert_refused
from diffusers import BFLQuantizationConfig, FluxTransformer2DModel, PixArtTransformer2DModel
from diffusers.quantizers.bfl.bfl_quantizer import BFLQuantizer
from diffusers.quantizers.bfl.utils import BFLFP8RLinear, BFLNVFP4Linear
from names.families import model
from safetensors.torch import load_file

from pipeline.backends import bfl
from pipeline.backends.bfl.library import opened
from pipeline.backends.oracle import worker
from pipeline.backends.oracle.conversion import TensorHeader, ask
from pipeline.backends.oracle.probing import answer_single_file, converter
from pipeline.backends.oracle.single_file import SingleFileRequest
from pipeline.tasks.protocol import LoadedModel
from pipeline.validate import probes
from pipeline.worker.child import WorkerError

KINDS = {"fp8": BFLFP8RLinear, "nvfp4": BFLNVFP4Linear}
NARROW = "x_embedder"  # has rows of 36


def bits(tensor: torch.Tensor) -> bytes:
    return tensor.detach().reshape(-1).view(torch.uint8).numpy().tobytes()


@pytest.mark.parametrize("scheme", KINDS)
def test_diffusers_opens_what_was_written(scheme: str, components: Path, answers: Path, tmp_path: Path) -> None:
    folder = cases.stream_case(cases.READ[scheme], components / "transformer", answers, tmp_path / "ours").folder
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


def test_what_a_family_has_in_one_tensor_is_quantized_as_one_and_opened_in_parts(answers: Path, tmp_path: Path) -> None:
    made = model("Flux2Transformer2DModel").bfloat16()
    made.save_pretrained(tmp_path / "source")
    case = cases.Case("flux-2", "bfl", "nvfp4")
    folder = cases.stream_case(case, tmp_path / "source", answers, tmp_path / "ours").folder
    stored, whole = load_file(cases.weights_of(folder)), "double_blocks.0.img_attn.qkv"
    names = [f"transformer_blocks.0.attn.to_{one}" for one in "qkv"]
    together = torch.cat([made.get_submodule(name).weight for name in names])
    wanted = bfl.pack("nvfp4", {"inputs": {whole: 3.25}}, f"{whole}.weight", together).tensors
    assert {name: bits(one) for name, one in stored.items() if name.startswith(f"{whole}.")} == {
        name: bits(one) for name, one in wanted.items()
    }
    read = opened(type(made), folder, torch.bfloat16)
    held = [read.get_submodule(name) for name in names]
    assert {type(module) for module in held} == {BFLNVFP4Linear}
    for name, tensor in wanted.items():
        own = [getattr(module, name.removeprefix(f"{whole}.")) for module in held]
        assert bits(torch.cat(own)) == bits(tensor) if tensor.ndim else {*map(bits, own)} == {bits(tensor)}
    read.dequantize()
    values = torch.cat([read.get_submodule(name).weight for name in names])
    assert (values - together).norm() / together.norm() < 0.1


@pytest.mark.parametrize("scheme", KINDS)
def test_flux_1_s_tensors_are_parted_with_their_scales(scheme: str) -> None:
    """As wide as diffusers' function counts on, of which one block tells as much as all."""
    with torch.device("meta"):
        made = FluxTransformer2DModel(num_layers=1, num_single_layers=1, guidance_embeds=True)
    shapes = {name: tuple(tensor.shape) for name, tensor in made.state_dict().items()}
    question = SingleFileRequest(class_name="FluxTransformer2DModel", config=dict(made.config), shapes=shapes)
    answer, file = answer_single_file(question), dict[str, torch.Tensor]()
    for name, tensor in answer.tensors.items():
        values = torch.randn(tensor.shape[0], *(bfl.BLOCK for _ in tensor.shape[1:]))
        inputs = {"inputs": {name.removesuffix(".weight"): 1.0}}
        file |= bfl.pack(scheme, inputs, name, values).tensors if values.ndim > 1 else {name: values}
    read = BFLQuantizer(BFLQuantizationConfig()).maybe_update_state_dict(file)
    whole = {name: tensor.float() for name, tensor in read.items()}  # unpacked
    found = converter("FluxTransformer2DModel")[1](checkpoint=read, config={})
    assert found.keys() == shapes.keys()
    for name, parts in answer.places().items():
        wanted = torch.cat([whole[target][at : at + rows.stop - rows.start] for rows, target, at in parts])
        assert torch.equal(found[name].float(), wanted), name


def test_what_diffusers_takes_apart_as_it_does_no_scales_is_refused_by_name() -> None:
    made = model("WanAnimateTransformer3DModel")
    tensors = {name: TensorHeader(dtype="F32", shape=tuple(one.shape)) for name, one in made.state_dict().items()}
    method = {"quant_method": "bfl", "scheme": "fp8", "names": "family"}
    question = asked(
        class_name=type(made).__name__, config=dict(made.config), tensors=tensors, quantization=method, backend="bfl"
    )
    with pytest.raises(WorkerError, match="takes tensors of WanAnimateTransformer3DModel apart as it does no quan"):
        worker.answer(question)
    worker.answer(question.model_copy(update={"quantization": {**method, "names": "diffusers"}}))


def test_the_scale_of_activations_is_that_of_modelopt() -> None:
    assert bfl.input_scale(5.25) == torch.tensor(5.25) / (6.0 * 448.0)


def test_a_plan_says_why_a_layer_is_whole(components: Path, answers: Path) -> None:
    said = ask(cases.question_of(cases.READ["nvfp4"], components / "transformer"), answers, "x").kept
    assert (said[NARROW], said["proj_out"]) == ("no block divides its rows of 36", "keep")


def test_what_diffusers_reads_from_no_file_is_refused_by_name() -> None:
    other = PixArtTransformer2DModel(num_layers=1, num_attention_heads=1, attention_head_dim=8, cross_attention_dim=8)
    method = {"backend": "bfl", "quantization": {"quant_method": "bfl", "scheme": "nvfp4", "names": "diffusers"}}
    assert_refused({
        "PixArtTransformer2DModel is none of them": asked(
            class_name="PixArtTransformer2DModel", config=dict(other.config), **method
        ),
        "'steps' is stored as I64, and a single file holds floats": asked(
            tensors={"steps": TensorHeader(dtype="I64", shape=(1,))}, **method
        ),
    })  # fmt: skip

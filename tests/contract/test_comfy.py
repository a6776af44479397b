"""What ComfyUI's layers compute with is what we wrote, and a layer that fits no tile is left whole."""

from __future__ import annotations

import json
from pathlib import Path

import comfy_kitchen
import pytest
import torch
from comfy_kitchen.tensor import QuantizedTensor
from contract import cases
from diffusers import ZImageTransformer2DModel
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from pipeline.backends import comfy
from pipeline.backends.comfy.library import opened, quantized
from pipeline.backends.comfy.marker import fits
from pipeline.errors import RecipeError
from pipeline.plan.model import refuse_unfit
from pipeline.recipe import Quantization
from pipeline.source.layout import Folder, read_source

SHAPE = 64, 512
BOUNDS = {"int8": 0.02, "int8-convrot": 0.02, "fp8": 0.04, "mxfp8": 0.04, "nvfp4": 0.15}


def layer_of(scheme: str) -> tuple[torch.Tensor, QuantizedTensor]:
    """Return a weight, and as it is opened from what was made of it."""
    weight = torch.randn(SHAPE, generator=torch.Generator().manual_seed(1)) * 0.02
    tensors = {name: value.clone() for name, value in comfy.pack(scheme, {}, "proj.weight", weight).tensors.items()}
    made = quantized(tensors, "proj.", torch.float32)
    assert not tensors, "a tensor of the layer is no part of it"
    return weight, made


@pytest.mark.parametrize("scheme", comfy.SCHEMES)
def test_a_layer_answers_as_its_source_does(scheme: str) -> None:
    weight, made = layer_of(scheme)
    x = torch.randn((8, SHAPE[1]), generator=torch.Generator().manual_seed(2))
    wanted = torch.nn.functional.linear(x, weight)
    lost = (torch.nn.functional.linear(x, made) - wanted).norm() / wanted.norm()
    assert 0 < lost < BOUNDS[scheme]


@pytest.mark.parametrize("scheme", ["int8", "int8-convrot"])
def test_activations_of_int8_are_quantized_as_in_comfyui(scheme: str) -> None:
    _, made = layer_of(scheme)
    x = torch.randn((8, SHAPE[1]), generator=torch.Generator().manual_seed(3))
    codes, scale = made._qdata, made._params.scale
    alone = comfy_kitchen.int8_linear(x, codes, scale, None, torch.float32, convrot=scheme == "int8-convrot")
    assert torch.equal(torch.nn.functional.linear(x, made), alone)
    plain = torch.nn.functional.linear(x, made.dequantize())
    assert not torch.equal(plain, alone), "activations were not quantized"


def test_rows_that_are_no_whole_groups_are_not_rotated_and_not_said_to_be() -> None:
    for columns, rotated in ((512, True), (384, False)):
        made = comfy.pack("int8-convrot", {}, "proj.weight", torch.ones(4, columns)).tensors["proj.comfy_quant"]
        assert json.loads(made.numpy().tobytes()).get("convrot", False) is rotated


def test_the_header_says_of_every_layer_what_its_marker_says() -> None:
    packed = {"a.proj.weight": comfy.describe("nvfp4", {}, "a.proj.weight", SHAPE, "bfloat16")}
    said = json.loads(comfy.metadata("nvfp4", "", [*packed], packed)["_quantization_metadata"])
    assert said == {"format_version": "1.0", "layers": {"a.proj": {"format": "nvfp4"}}}


@pytest.mark.parametrize(("scheme", "shape", "taken"), [
    ("nvfp4", (16, 48), True), ("nvfp4", (10, 48), False), ("mxfp8", (32, 48), False), ("int8", (3, 5), True),
])  # fmt: skip
def test_only_whole_tiles_are_quantized(scheme: str, shape: tuple[int, int], taken: bool) -> None:
    assert fits(scheme, shape) is taken


@pytest.mark.parametrize("scheme", comfy.SCHEMES)
def test_what_a_family_has_in_one_tensor_is_quantized_as_one_and_opened_in_parts(
    scheme: str, components: Path, answers: Path, tmp_path: Path
) -> None:
    z_image = components / "z-image"
    ours = cases.stream_case(cases.FUSED[scheme], z_image, answers, tmp_path / "ours")
    file = cases.weights_of(ours.folder)
    assert file.name == f"model_{comfy.SCHEMES[scheme].suffix}.safetensors"
    stored, source = load_file(file), load_file(cases.weights_of(z_image))
    layer = "layers.0.attention"
    whole = torch.cat([source[f"{layer}.to_{one}.weight"] for one in "qkv"])
    wanted = comfy.pack(scheme, {}, f"{layer}.qkv.weight", whole).tensors
    assert {name for name in stored if name.startswith(f"{layer}.qkv.")} == wanted.keys()
    for name, tensor in wanted.items():
        assert stored[name].shape == tensor.shape
        assert torch.equal(stored[name].reshape(-1).view(torch.uint8), tensor.reshape(-1).view(torch.uint8)), name
    read = quantized({**wanted}, f"{layer}.qkv.", torch.bfloat16).dequantize()
    made = opened(ZImageTransformer2DModel, ours.folder, torch.bfloat16)
    parts = [made.get_submodule(f"{layer}.to_{one}").weight for one in "qkv"]
    assert torch.equal(torch.cat([part.dequantize() for part in parts]), read)
    with safe_open(file, "pt") as opened_file:
        said = json.loads(opened_file.metadata()["_quantization_metadata"])["layers"]
    assert said.keys() == {name.removesuffix(".comfy_quant") for name in stored if name.endswith(".comfy_quant")}
    lost = (read.float() - whole.float()).norm() / whole.float().norm()
    assert lost < BOUNDS[scheme]


def test_a_source_that_is_comfyui_s_already_is_told_what_it_is(tmp_path: Path) -> None:
    folder = tmp_path / "transformer"
    folder.mkdir()
    (tmp_path / "model_index.json").write_text('{"_class_name": "P", "transformer": ["diffusers", "Flux"]}')
    (folder / "config.json").write_text('{"_class_name": "Flux"}')
    save_file(comfy.pack("int8", {}, "proj.weight", torch.ones(4, 8)).tensors, folder / "mine.safetensors")
    part = read_source(Folder(tmp_path)).components["transformer"]
    said = r"transformer is ComfyUI's, which somebody quantized before .*mine\.safetensors"
    with pytest.raises(RecipeError, match=said):
        refuse_unfit(part, Quantization(backend="comfy", scheme="int8"), "x")

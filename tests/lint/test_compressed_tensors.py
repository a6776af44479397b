"""Every preset of compressed-tensors, one beside the other in a model, is read as the library itself reads it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from compressed_tensors.compressors import BaseCompressor
from compressed_tensors.quantization import QuantizationScheme, preset_name_to_scheme
from compressed_tensors.quantization.utils import calculate_qparams
from safetensors.torch import load_file, save_file

from pipeline.lint import lint
from pipeline.lint.contents import contents_of
from pipeline.lint.formats import recognised
from pipeline.lint.formats.compressed_tensors import by_pattern
from pipeline.source.layout import Folder

FORMS = {
    "FP8_BLOCK": "float-quantized",
    "MXFP4A16": "mxfp4-pack-quantized",
    "MXFP6A16": "mxfp6-pack-quantized",
    "MXFP8A16": "mxfp8-quantized",
    "W4AFP8": "int-quantized",
    "W3A8": "int-quantized",
    "W8A8": "int-quantized",
    "W4A16": "pack-quantized",
    "W8A16": "pack-quantized",
    "W4A16_ASYM": "pack-quantized",
}
UNDECODED = {"MXFP6A16", "W4A16_ASYM"}


def spans(weight: torch.Tensor, args: Any) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the smallest and the largest value of what shares a scale."""
    if args.strategy == "block":
        tall, wide = args.block_structure
        blocks = weight.unflatten(0, (-1, tall)).unflatten(-1, (-1, wide))
        return blocks.amin((1, 3)), blocks.amax((1, 3))
    groups = weight.unflatten(-1, (-1, args.group_size or weight.shape[1]))
    return groups.amin(-1), groups.amax(-1)


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, torch.Tensor]]:
    """A model with a layer of each preset, each named in another way, and what the library makes of them."""
    folder, base = tmp_path_factory.mktemp("mixed"), tmp_path_factory.mktemp("base")
    tensors: dict[str, torch.Tensor] = {}
    groups, plain, read = {}, {}, {}
    for number, (preset, form) in enumerate(FORMS.items()):
        layer = f"layers.{number}.proj"
        target = layer if number % 2 else rf"re:.*layers\.{number}\.(proj|other)$"
        scheme: QuantizationScheme = preset_name_to_scheme(preset, [target])
        weight = (0.05 * torch.randn(256, 256, generator=torch.Generator().manual_seed(number))).bfloat16()
        scale, zero = calculate_qparams(*spans(weight, scheme.weights), scheme.weights)
        held = {"weight": weight, "weight_scale": scale} | (
            {} if scheme.weights.symmetric else {"weight_zero_point": zero}
        )
        compressor = BaseCompressor.get_value_from_registry(form)
        made = compressor.compress(held, scheme)
        tensors |= {f"{layer}.{name}": part.contiguous() for name, part in made.items()}
        plain[f"{layer}.weight"], read[f"{layer}.weight"] = weight, compressor.decompress(dict(made), scheme)["weight"]
        groups[preset] = json.loads(scheme.model_dump_json())
    said = {"quant_method": "compressed-tensors", "format": "mixed-precision", "config_groups": groups}
    (folder / "config.json").write_text(json.dumps({"quantization_config": said}))
    save_file(tensors, folder / "model.safetensors")
    save_file(plain, base / "model.safetensors")
    assert not lint(Folder(folder), Folder(base)).everything
    return folder, read


def test_each_layer_is_read_as_the_group_says_that_names_it(mixed: tuple[Path, dict[str, torch.Tensor]]) -> None:
    folder, read = mixed
    (subject,) = contents_of(Folder(folder)).subjects
    weights = {weight.name: weight for weight in recognised(subject)[1].weights}
    assert [weights[name].scheme.partition(" (")[0] for name in read] == [
        "float8 in blocks of 128 by 128",
        "mxfp4",
        "mxfp6",
        "mxfp8",
        "int4 in groups of 128",
        "int3 in groups of 128",
        "int8 per row",
        "int4 in groups of 128",
        "int8 in groups of 128",
        "int4 in groups of 128",
    ]
    for preset, (name, wanted) in zip(FORMS, read.items(), strict=True):
        weight = weights[name]
        if weight.decode is None:
            assert preset in UNDECODED
            continue
        held = {role: subject.array(part.name) for role, part in weight.parts.items() if role not in {"codes", "state"}}
        codes, half = np.frombuffer(subject.bytes(subject.tensors[weight.codes]), np.uint8), 128 * 256
        cut = codes.size // 2
        got = np.concatenate([weight.decode(0, codes[:cut], held), weight.decode(half, codes[cut:], held)])
        assert torch.equal(torch.from_numpy(got).reshape(256, 256).bfloat16(), wanted.bfloat16()), preset


@pytest.mark.parametrize("preset", ["FP8_BLOCK", "MXFP4A16", "MXFP8A16", "W4AFP8", "W8A16"])
def test_a_scale_of_another_shape_than_its_own_group_says_is_told(
    preset: str, mixed: tuple[Path, dict[str, torch.Tensor]], tmp_path: Path
) -> None:
    name = f"layers.{list(FORMS).index(preset)}.proj.weight_scale"
    tensors = load_file(mixed[0] / "model.safetensors")
    tensors[name] = tensors[name][:, :-1].contiguous()
    save_file(tensors, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_bytes((mixed[0] / "config.json").read_bytes())
    (fault,) = lint(Folder(tmp_path)).everything
    assert (fault.rule, fault.level, fault.tensor) == ("scale-wrong", "error", name)


def test_a_pattern_that_would_take_long_names_nothing() -> None:
    assert by_pattern(r"re:.*layers\.\d+\.mlp.*", "model.layers.3.mlp.up_proj")
    for hostile in ("re:(a+)+$", "re:" + ".*" * 9 + "x", "re:(", "re:.*" + "a" * 300):
        assert not by_pattern(hostile, "a" * 100)


@pytest.mark.parametrize(
    ("method", "ends"), [("compressed-tensors", "_packed _global_scale"), ("modelopt", " _scale_2")]
)
def test_layers_that_servers_load_as_one_with_other_global_scales_are_told(
    method: str, ends: str, tmp_path: Path
) -> None:
    codes, scale = ends.split(" ")
    args = preset_name_to_scheme("NVFP4A16", ["Linear"]).weights.model_dump(mode="json")
    said = {"quant_method": method, "config_groups": {"one": {"targets": ["Linear"], "weights": args}}}
    (tmp_path / "config.json").write_text(json.dumps({"quantization_config": said}))

    def told(**scales: float) -> list[tuple[str, str, str]]:
        tensors = {}
        for name, value in scales.items():
            layer = f"model.layers.0.self_attn.{name}_proj"
            tensors[f"{layer}.weight{codes}"] = torch.full((32, 32), 0x21, dtype=torch.uint8)
            tensors[f"{layer}.weight_scale"] = torch.full((32, 4), 2.0).to(torch.float8_e4m3fn)
            tensors[f"{layer}.weight{scale}"] = torch.tensor([value])
            tensors[f"{layer}.input_scale"] = torch.tensor([0.5])
        save_file(tensors, tmp_path / "model.safetensors")
        return [(fault.level, fault.rule, fault.text) for fault in lint(Folder(tmp_path)).everything]

    assert not told(q=100.0, k=100.0, v=100.0, o=7.0)
    ((level, rule, text),) = told(q=100.0, k=100.0, v=25.5)
    assert (level, rule) == ("warning", "scale-unequal")
    assert f"It is 100, and model.layers.0.self_attn.v_proj.weight{scale} is 25.5: vLLM and sglang load them" in text

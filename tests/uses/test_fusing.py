"""What is fused tensor by tensor is what diffusers fuses and saves, byte for byte."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from uses.conftest import loaded, make_lora

from pipeline.errors import RecipeError, SourceError
from pipeline.quantize.lora.adapters import Adapter, Job, fuse_into, parts_of
from pipeline.quantize.lora.worker import say
from pipeline.source.layout import Folder, read_layout


def linked(source: Path, out: Path) -> Path:
    """Return a folder of links to the source's files, as a run has it before it fuses."""
    shutil.copytree(source, out, copy_function=lambda origin, to: Path(to).hardlink_to(origin))
    return out


def fused(source: Path, out: Path, *loras: tuple[Path, float]) -> Path:
    said = say(job(source, linked(source, out), *loras))
    assert "error" not in said, said
    return out


def job(source: Path, folder: Path, *loras: tuple[Path, float]) -> Job:
    place = Folder(source)
    layout = read_layout(place)
    adapters = tuple(Adapter(file=str(file), scale=scale, where=file.name) for file, scale in loras)
    return Job(pipeline=layout.class_name, parts=parts_of(place, layout), folder=str(folder), loras=adapters)


def fused_by_a_child(source: Path, out: Path, file: Path) -> Path:
    place = Folder(source)
    lora = Adapter(file=str(file), scale=1.0, where=file.name)
    fuse_into(linked(source, out), place, read_layout(place), (lora,))
    return out


def fused_by_diffusers(source: Path, out: Path, dtype: str, *loras: tuple[Path, float]) -> Path:
    pipe = loaded(source, dtype)
    for file, scale in loras:
        pipe.load_lora_weights(file.parent, weight_name=file.name, adapter_name="style")
        pipe.fuse_lora(components=pipe._lora_loadable_modules, lora_scale=scale)
        pipe.unload_lora_weights()
    pipe.save_pretrained(out)
    return out


def tensors(folder: Path) -> dict[str, Any]:
    from safetensors.torch import load_file

    files = sorted(folder.rglob("*.safetensors"))
    return {f"{file.parent.name}/{name}": value for file in files for name, value in load_file(file).items()}


def require_same(ours: Path, theirs: Path, source: Path) -> None:
    import torch

    found, wanted, before = tensors(ours), tensors(theirs), tensors(source)
    assert found.keys() == wanted.keys()
    bits = {2: torch.int16, 4: torch.int32}
    for name, value in wanted.items():
        assert found[name].dtype == value.dtype
        kind = bits[value.element_size()]
        assert torch.equal(found[name].view(kind), value.view(kind)), name
    changed = {name for name, value in wanted.items() if not torch.equal(value, before[name])}
    assert {name.partition("/")[0] for name in changed} == {"transformer", "text_encoder"}


def refusal(source: Path, layers: dict[str, Any], folder: Path) -> str:
    """Return why a LoRA is not fused, as the child process says it."""
    file = save(folder / "odd.safetensors", layers)
    said = say(job(source, linked(source, folder / "ours"), (file, 1.0)))
    assert said["error"] == "lora"
    return str(said["what"])


@pytest.mark.parametrize("dtype", ["bfloat16", "float32"])
def test_fused_bytes_are_those_that_diffusers_fuses_and_saves(
    dtype: str, source: Path, full: Path, lora: Path, tmp_path: Path
) -> None:
    origin = source if dtype == "bfloat16" else full
    ours = fused(origin, tmp_path / "ours", (lora, 0.7))
    require_same(ours, fused_by_diffusers(origin, tmp_path / "theirs", dtype, (lora, 0.7)), origin)


def test_several_loras_are_fused_one_after_another(source: Path, lora: Path, tmp_path: Path) -> None:
    other = make_lora(source, tmp_path / "other", "bfloat16", seed=2)
    both = ((lora, 1.0), (other, -0.5))
    ours = fused(source, tmp_path / "ours", *both)
    require_same(ours, fused_by_diffusers(source, tmp_path / "theirs", "bfloat16", *both), source)


def test_a_lora_of_kohya_is_fused_as_diffusers_converts_it(source: Path, tmp_path: Path) -> None:
    file = save(tmp_path / "kohya.safetensors", kohya())
    ours = fused(source, tmp_path / "ours", (file, 1.0))
    require_same(ours, fused_by_diffusers(source, tmp_path / "theirs", "bfloat16", (file, 1.0)), source)


def test_a_lora_for_one_module_leaves_others_whose_names_end_alike(source: Path, tmp_path: Path) -> None:
    file = save(tmp_path / "one.safetensors", peft_layer("transformer.proj_out"))
    ours, before = tensors(fused(source, tmp_path / "ours", (file, 1.0))), tensors(source)
    assert {name for name in before if not before[name].equal(ours[name])} == {"transformer/proj_out.weight"}


def test_the_source_and_all_other_bytes_stay_as_they_were(source: Path, lora: Path, tmp_path: Path) -> None:
    before = {path: path.read_bytes() for path in source.rglob("*") if path.is_file()}
    ours = fused_by_a_child(source, tmp_path / "ours", lora)
    assert {path: path.read_bytes() for path in before} == before
    same = {path for path, content in before.items() if (ours / path.relative_to(source)).read_bytes() == content}
    assert {path.parent.name for path in before.keys() - same} == {"transformer", "text_encoder"}
    for path in before.keys() - same:
        assert (ours / path.relative_to(source)).stat().st_size == len(before[path])


def test_a_lora_that_does_not_fit_is_one_clear_error(source: Path, tmp_path: Path) -> None:
    layers = peft_layer("transformer.transformer_blocks.7.attn.to_q") | peft_layer("transformer.proj_out")
    with pytest.raises(RecipeError) as caught:
        fused_by_a_child(source, tmp_path / "ours", save(tmp_path / "odd.safetensors", layers))
    place = "transformer.transformer_blocks.7.attn.to_q"
    assert str(caught.value) == (
        f"odd.safetensors: FluxPipeline has nothing that takes its tensors for {place}; LoRAs go to text_encoder, "
        "transformer. Name another LoRA, or one that was trained for this model."
    )


def test_modules_of_which_the_model_has_none_are_named(source: Path, tmp_path: Path) -> None:
    layers = peft_layer("transformer.transformer_blocks.7.attn.to_q")
    assert "'transformer_blocks.7.attn.to_q'" in refusal(source, layers, tmp_path)


def test_a_text_encoder_that_diffusers_passes_over_is_named(source: Path, tmp_path: Path) -> None:
    layers = peft_layer("transformer.proj_out") | peft_layer("text_encoder_2.encoder.block.0.layer.0.SelfAttention.q")
    assert "for text_encoder_2.encoder.block.0.layer.0.SelfAttention.q;" in refusal(source, layers, tmp_path)


def test_what_a_conversion_drops_is_named(source: Path, tmp_path: Path) -> None:
    """diffusers 0.42 converts this one to a name without its component, and finds nothing to load that onto."""
    assert "x_embedder" in refusal(source, kohya() | kohya_layer("lora_unet_img_in", 64, 64), tmp_path)


def test_what_a_conversion_passes_over_without_a_word_is_named(source: Path, tmp_path: Path) -> None:
    layers = kohya() | kohya_layer("lora_te2_encoder_block_0_layer_0_SelfAttention_q", 64, 64)
    said = refusal(source, layers, tmp_path)
    assert said == (
        "diffusers passes over 'lora_te2_encoder_block_0_layer_0_SelfAttention_q.alpha' and 2 more, without a word."
    )


def test_weights_of_dora_are_refused_where_diffusers_would_drop_them(source: Path, tmp_path: Path) -> None:
    import torch

    layers = peft_layer("transformer.proj_out") | {"transformer.proj_out.dora_scale": torch.ones(64)}
    assert "DoRA" in refusal(source, layers, tmp_path)


def test_a_lora_that_widens_a_layer_is_refused(source: Path, tmp_path: Path) -> None:
    layers = peft_layer("transformer.x_embedder", columns=128)
    assert refusal(source, layers, tmp_path) == (
        "It makes the weight of x_embedder [64, 128], and the source has [64, 64]."
    )


def test_a_lora_that_is_not_finite_is_refused(source: Path, tmp_path: Path) -> None:
    import torch

    layers = peft_layer("transformer.proj_out")
    layers["transformer.proj_out.lora_A.weight"][0, 0] = torch.inf
    assert refusal(source, layers, tmp_path) == "With it proj_out is not finite any more."


def test_a_file_that_lies_is_refused_before_a_library_reads_it(source: Path, lora: Path, tmp_path: Path) -> None:
    file = tmp_path / "cut.safetensors"
    file.write_bytes(lora.read_bytes()[:-10])
    with pytest.raises(SourceError, match="truncated"):
        fused_by_a_child(source, tmp_path / "ours", file)


def peft_layer(name: str, columns: int = 64) -> dict[str, Any]:
    import torch

    return {f"{name}.lora_A.weight": torch.ones(4, columns), f"{name}.lora_B.weight": torch.ones(64, 4)}


def kohya_layer(name: str, columns: int, rows: int) -> dict[str, Any]:
    import torch

    generator = torch.Generator().manual_seed(len(name))
    return {
        f"{name}.lora_down.weight": torch.randn(4, columns, generator=generator),
        f"{name}.lora_up.weight": torch.randn(rows, 4, generator=generator),
        f"{name}.alpha": torch.tensor(2.0),
    }


def kohya() -> dict[str, Any]:
    return {
        **kohya_layer("lora_unet_double_blocks_0_img_attn_qkv", 64, 192),
        **kohya_layer("lora_unet_double_blocks_0_txt_attn_proj", 64, 64),
        **kohya_layer("lora_unet_single_blocks_0_linear2", 320, 64),
        **kohya_layer("lora_te1_text_model_encoder_layers_0_self_attn_q_proj", 32, 32),
        **kohya_layer("lora_te1_text_model_encoder_layers_0_self_attn_out_proj", 32, 32),
    }


def save(file: Path, content: dict[str, Any]) -> Path:
    from safetensors.torch import save_file

    save_file(content, file)
    return file

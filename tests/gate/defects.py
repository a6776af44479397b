"""The defects: each a way in which checkpoints of the field went wrong, and what a report has to say of it first."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from tests.gate.damage import Change, Spoil, Tensors, document, setting, tensors, toward, weights
from tests.gate.formats import (
    bytes_of,
    fewer_levels,
    halves,
    nf4_absmax,
    nf4_layers,
    nf4_state,
    nf4_state_as,
    nf4_with_absmax,
    renamed,
    requantized,
    state_name,
)

WIDE = "single_transformer_blocks.1.proj_out"  # 256 rows of 1,280
QUERY, KEY = "transformer_blocks.0.attn.to_q", "transformer_blocks.0.attn.to_k"
TIME = "time_text_embed.timestep_embedder.linear_2"  # of QUERY's shape, with other scales
LAST = "proj_out"
SCHEDULER = "scheduler/scheduler_config.json"


@dataclass(frozen=True)
class Defect:
    """One way to go wrong.

    Attributes:
        of: The honest target that is spoiled, or ``source`` where it is the reference that is.
        spoil: What is done to a copy of it.
        about: Where the report has to have seen it: the first reason's ``about``.
        names: What the first reason has to name.
        weakens: Whether there are weaker forms of it.
    """

    of: str
    spoil: Spoil
    about: str
    names: str
    weakens: bool = True


def layer(of: str, names: str, *changes: Change, component: str = "transformer") -> Defect:
    """Return a defect of weights, to be seen in a layer."""
    return Defect(of, weights(component, *changes), "layer", names)


def config(names: str, file: str, *, weakens: bool = False, **values: Any) -> Defect:
    """Return a defect of a file beside the weights."""
    return Defect("bnb-nf4", setting(file, **values), "file", names, weakens)


def each(pattern: str, change: Callable[[Any], Any]) -> Change:
    """Return what changes every tensor whose name ends so."""
    return lambda held: {name: change(tensor) for name, tensor in held.items() if name.endswith(pattern)}


def one(name: str, change: Callable[[Any], Any]) -> Change:
    """Return what changes one tensor."""
    return lambda held: {name: change(held[name])}


def as_in(name: str, other: str) -> Change:
    """Return what gives one tensor the values of another."""
    return lambda held: {name: held[other].clone()}


def swapped(first: str, second: str) -> Change:
    """Return what exchanges all that two layers hold."""
    return lambda held: renamed(held, first, second) | renamed(held, second, first)


def upside_down(tensor: Any) -> Any:
    """Return its rows, the last one first."""
    return tensor.flip(0)


def noisy(share: float) -> Callable[[Any], Any]:
    """Return what adds noise of that share of a tensor's own spread."""
    import torch

    def change(tensor: Any) -> Any:
        noise = torch.randn(tensor.shape, generator=torch.Generator().manual_seed(7))
        return (tensor.float() + share * tensor.float().std() * noise).to(tensor.dtype)

    return change


def fresh(tensor: Any) -> Any:
    """Return other values of the same spread."""
    import torch

    noise = torch.randn(tensor.shape, generator=torch.Generator().manual_seed(7))
    return (tensor.float().mean() + tensor.float().std() * noise).to(tensor.dtype) if tensor.numel() > 1 else tensor


def through(dtype: str) -> Callable[[Any], Any]:
    """Return what rounds a tensor to a dtype and back."""
    import torch

    return lambda tensor: tensor.to(getattr(torch, dtype)).to(tensor.dtype)


def with_infinity(tensor: Any) -> Any:
    """Return a tensor whose largest value has overflowed."""
    found = tensor.clone()
    found.view(-1)[found.abs().argmax()] = float("inf")
    return found


def interleaved(tensor: Any) -> Any:
    """Return rows in the order of rotary halves instead of pairs, in heads of 64."""
    return tensor.reshape(-1, 32, 2, *tensor.shape[1:]).transpose(1, 2).reshape(tensor.shape)


# nf4: two codes a byte, scales of blocks whose own scales are quantized again


def _absmax_transposed(held: Tensors) -> Tensors:
    return nf4_with_absmax(held, WIDE, nf4_absmax(held, WIDE).T.contiguous())


def _saved_after_a_forward_pass(held: Tensors) -> Tensors:
    """What bitsandbytes 0.50 keeps of layers that its CPU kernels packed: the scales transposed, and in bfloat16."""
    found: Tensors = {}
    for name in nf4_layers(held):
        found |= nf4_with_absmax(held, name, nf4_absmax(held, name).T.bfloat16().float().contiguous())
    return found


def _offset_lost(held: Tensors) -> Tensors:
    return {state_name(WIDE): nf4_state_as(nf4_state(held, WIDE) | {"nested_offset": 0.0})}


def _blocks_of_twice_the_size(held: Tensors) -> Tensors:
    absmax = nf4_absmax(held, WIDE)
    return nf4_with_absmax(held, WIDE, absmax[:, ::2].repeat_interleave(2, dim=1))


def _one_row_lost(held: Tensors) -> Tensors:
    """One output of a layer that keeps its SQNR: its share of the signal is that of the honest error."""
    absmax = nf4_absmax(held, WIDE)
    absmax[absmax.mean(dim=1).argmax()] = 0
    return nf4_with_absmax(held, WIDE, absmax)


def _nibbles_swapped(codes: Any) -> Any:
    first, second = halves(codes)
    return bytes_of(second, first)


def _codes_off_by_one(codes: Any) -> Any:
    first, second = halves(codes)
    return bytes_of((first + 1).clamp(max=15), (second + 1).clamp(max=15))


def _read_as_fp4(folder: Path, _strength: float) -> None:
    """Codes of nf4 under the name, the map and the state of fp4, in one layer."""
    import torch

    steps = [0, 0.0052083333, 0.6666667, 1.0, 0.3333333, 0.5, 0.1666667, 0.25]
    with tensors(folder / "transformer") as held:
        state = nf4_state(held, WIDE) | {"quant_type": "fp4"}
        del held[state_name(WIDE)]
        held[state_name(WIDE).replace("nf4", "fp4")] = nf4_state_as(state)
        held[f"{WIDE}.weight.quant_map"] = torch.tensor([*steps, *(-step for step in steps)])


def _block_of_nan(held: Tensors) -> Tensors:
    found = held[f"{WIDE}.weight.nested_absmax"].clone()
    found[3] = float("nan")
    return {f"{WIDE}.weight.nested_absmax": found}


# 8 bits


def _never_written(held: Tensors) -> Tensors:
    name = f"{WIDE}._weight_qdata"
    return {name: held[name] * 0}


def _left_unquantized(folder: Path, _strength: float) -> None:
    """A layer that stays in bfloat16, which the config of the checkpoint admits."""
    with tensors(folder / "transformer") as held:
        part = f"{WIDE.rpartition('.')[0]}.proj_mlp"
        weight = held.pop(f"{part}.SCB")[:, None] * held[f"{part}.weight"].float() / 127
        del held[f"{part}.weight_format"]
        held[f"{part}.weight"] = weight.bfloat16()
    with document(folder / "transformer/config.json") as config:
        config["quantization_config"]["llm_int8_skip_modules"] = [part]


def _at_two_bits(held: Tensors) -> Tensors:
    return {name: fewer_levels(codes, 2) for name, codes in held.items() if name.endswith("._weight_qdata")}


def _half_fused(held: Tensors) -> Tensors:
    """A LoRA of rank 4 in the queries of half of the blocks."""
    import torch

    found: Tensors = {}
    dice = torch.Generator().manual_seed(7)
    for name in (QUERY, "single_transformer_blocks.0.attn.to_q"):
        codes, scale = held[f"{name}._weight_qdata"], held[f"{name}._weight_scale"]
        weight = codes.float() * scale.float()
        up, down = torch.randn(256, 4, generator=dice), torch.randn(4, 256, generator=dice)
        delta = up @ down
        codes, scale = requantized(weight + 0.5 * delta * weight.norm() / delta.norm())
        found |= {f"{name}._weight_qdata": codes, f"{name}._weight_scale": scale}
    return found


def _of_an_earlier_revision(held: Tensors) -> Tensors:
    """Weights as they were some training steps before, quantized as well as today's."""
    found: Tensors = {}
    for name in [key.removesuffix("._weight_qdata") for key in held if key.endswith("._weight_qdata")]:
        weight = held[f"{name}._weight_qdata"].float() * held[f"{name}._weight_scale"].float()
        codes, scale = requantized(noisy(0.3)(weight))
        found |= {f"{name}._weight_qdata": codes, f"{name}._weight_scale": scale}
    return found


def _one_scale_for_all_rows(scale: Any) -> Any:
    return scale.max().expand_as(scale).contiguous()


# Beside the weights


def _tensor_missing(folder: Path, _strength: float) -> None:
    """transformers fills in what is missing with random values, and warns."""
    with tensors(folder / "text_encoder_2") as held:
        del held["encoder.block.1.layer.1.DenseReluDense.wo.weight"]


def _other_vocabulary(folder: Path, _strength: float) -> None:
    with document(folder / "tokenizer_2/tokenizer.json") as tokenizer:
        words = tokenizer["model"]["vocab"]
        tokenizer["model"]["vocab"] = [*words[:4], *(words[4:][::-1])]


def _without_quantization_config(folder: Path, _strength: float) -> None:
    with document(folder / "transformer/config.json") as config:
        del config["quantization_config"]


def _statistic_missing(folder: Path, _strength: float) -> None:
    with tensors(folder / "transformer") as held:
        del held[f"{WIDE}.weight.absmax"]


def _file_cut(folder: Path, _strength: float) -> None:
    file = folder / "vae" / "diffusion_pytorch_model.safetensors"
    content = file.read_bytes()
    file.unlink()
    file.write_bytes(content[: len(content) // 2])


def _text_ignored(folder: Path, strength: float) -> None:
    """Neither text encoder has a say: every prompt gets the same picture."""
    with tensors(folder / "text_encoder") as held:
        for name in ("final_layer_norm.weight", "final_layer_norm.bias"):
            held[name] = toward(held[name], held[name] * 0, strength)
    with tensors(folder / "text_encoder_2") as held:
        name = "encoder.final_layer_norm.weight"
        held[name] = toward(held[name], held[name] * 0, strength)


def _nothing(_folder: Path, _strength: float) -> None:
    """The checkpoint as it is."""


DEFECTS: Final[dict[str, Defect]] = {
    # 4 bits
    "absmax transposed": layer("bnb-nf4", WIDE, _absmax_transposed),
    "saved after a forward pass": Defect(
        "bnb-nf4", weights("transformer", _saved_after_a_forward_pass), "layer", "transformer"
    ),
    "offset of double quantization lost": layer("bnb-nf4", WIDE, _offset_lost),
    "block size read as 128": layer("bnb-nf4", WIDE, _blocks_of_twice_the_size),
    "one output lost": layer("bnb-nf4", f"{WIDE} keeps", _one_row_lost),
    "nibbles swapped": layer("bnb-nf4", QUERY, one(f"{QUERY}.weight", _nibbles_swapped)),
    "codes off by one": layer("bnb-nf4", QUERY, one(f"{QUERY}.weight", _codes_off_by_one)),
    "nf4 codes read as fp4": Defect("bnb-nf4", _read_as_fp4, "layer", WIDE, weakens=False),
    "one block of NaN": Defect("bnb-nf4", weights("transformer", _block_of_nan), "layer", WIDE, weakens=False),
    "two tensors swapped": layer("bnb-nf4", QUERY, swapped(QUERY, KEY)),
    "zero point lost": layer("quanto-int4", QUERY, one(f"{QUERY}.weight._shift", lambda shift: shift * 0)),
    "order of groups reversed": layer(
        "quanto-int4", QUERY, *(one(f"{QUERY}.weight.{part}", upside_down) for part in ("_scale", "_shift"))
    ),
    "kept layer cast to float8": layer(
        "quanto-int4", "proj_out was not quantized", each("proj_out.weight", through("float8_e4m3fn"))
    ),
    "made at 2 bits": Defect("quanto-int2", _nothing, "layer", "transformer lost most", weakens=False),
    # 8 bits
    "scale doubled": layer("torchao-int8", WIDE, one(f"{WIDE}._weight_scale", lambda scale: scale * 2)),
    "scale zeroed": layer("torchao-int8", WIDE, one(f"{WIDE}._weight_scale", lambda scale: scale * 0)),
    "scale of another layer": layer("torchao-int8", QUERY, as_in(f"{QUERY}._weight_scale", f"{TIME}._weight_scale")),
    "scales of rows upside down": layer("quanto-int8", TIME, one(f"{TIME}.weight._scale", upside_down)),
    "one scale for all rows": layer("quanto-int8", WIDE, one(f"{WIDE}.weight._scale", _one_scale_for_all_rows)),
    "scale overflowed to infinity": Defect(
        "bnb-int8", weights("transformer", one(f"{WIDE}.SCB", with_infinity)), "layer", WIDE, weakens=False
    ),
    "sign flipped": layer("bnb-int8", QUERY, one(f"{QUERY}.weight", lambda codes: -codes)),
    "float8 read as AMD's kind": layer(
        "torchao-float8", WIDE, one(f"{WIDE}._weight_qdata", lambda codes: codes.float().div(2).to(codes.dtype))
    ),
    "component left at 2 bits": layer("torchao-int8", "transformer", _at_two_bits),
    "last layer at 4 bits": layer(
        "torchao-int8", f"transformer: {LAST}", one(f"{LAST}._weight_qdata", lambda codes: fewer_levels(codes, 4))
    ),
    "layer never written": layer("torchao-int8", WIDE, _never_written),
    "layer left unquantized": Defect("bnb-int8", _left_unquantized, "layer", "proj_mlp", weakens=False),
    "heads in another order": layer("quanto-int8", KEY, each(f"{KEY}.weight._data", interleaved)),
    "LoRA half fused": layer("torchao-int8", QUERY, _half_fused),
    "component of an earlier revision": layer("torchao-int8", "transformer", _of_an_earlier_revision),
    # Not quantized
    "bias dropped": layer("bnb-nf4", f"{LAST}.bias", one(f"{LAST}.bias", lambda bias: bias * 0)),
    "norm of another block": layer(
        "bnb-int8",
        "single_transformer_blocks.0.attn.norm_k",
        as_in("single_transformer_blocks.0.attn.norm_k.weight", "single_transformer_blocks.2.attn.norm_q.weight"),
    ),
    "scale and shift swapped": layer(
        "quanto-int8", "norm_out.linear.bias", one("norm_out.linear.bias", lambda bias: bias.roll(256))
    ),
    "wrong text encoder": layer("torchao-int8", "text_encoder:", each("", fresh), component="text_encoder"),
    "earlier text encoder": layer("bnb-int8", "text_encoder_2:", each("", noisy(0.3)), component="text_encoder_2"),
    "embeddings rolled": layer(
        "bnb-int8", "shared", one("shared.weight", lambda rows: rows.roll(1, 0)), component="text_encoder_2"
    ),
    "embeddings cut short": layer(
        "torchao-float8",
        "token_embedding",
        one("embeddings.token_embedding.weight", lambda rows: rows * (rows.new_ones(140, 1).cumsum(0) < 100)),
        component="text_encoder",
    ),
    "tensor missing, filled at random": Defect("bnb-int8", _tensor_missing, "layer", "wo", weakens=False),
    "VAE in the wrong dtype": layer("bnb-int8", "vae:", each("", through("float8_e5m2")), component="vae"),
    "VAE draws black": layer(
        "torchao-int8",
        "vae:",
        one("decoder.conv_out.weight", lambda kernel: kernel * 0),
        one("decoder.conv_out.bias", lambda bias: bias * 0 - 3),
        component="vae",
    ),
    "text ignored": Defect("torchao-int8", _text_ignored, "layer", "final_layer_norm"),
    # Files
    "wrong scheduler": config("scheduler", "model_index.json", scheduler=["diffusers", "FlowMatchLCMScheduler"]),
    "wrong shift": config("shift", SCHEDULER, weakens=True, shift=4.0),
    "wrong prediction of noise": config("invert_sigmas", SCHEDULER, invert_sigmas=True),
    "block skipped": config("num_single_layers", "transformer/config.json", num_single_layers=2),
    "wrong scaling of latents": config("scaling_factor", "vae/config.json", weakens=True, scaling_factor=0.2),
    "saturated": config("scaling_factor", "vae/config.json", scaling_factor=0.01),
    "wrong activation": config("hidden_act", "text_encoder/config.json", hidden_act="relu"),
    "tokenizer of another model": Defect("bnb-nf4", _other_vocabulary, "file", "tokenizer_2", weakens=False),
    "prompts cut short": config("tokenizer", "tokenizer/tokenizer_config.json", model_max_length=3),
    # What does not load
    "quantization_config missing": Defect("bnb-nf4", _without_quantization_config, "load", "", weakens=False),
    "statistic missing": Defect("bnb-nf4", _statistic_missing, "load", "absmax", weakens=False),
    "file cut": Defect("torchao-int8", _file_cut, "load", "", weakens=False),
    # The reference itself
    "reference of one colour": Defect(
        "source",
        weights("vae", one("decoder.conv_out.weight", lambda kernel: kernel * 0)),
        "source",
        "one flat colour",
        weakens=False,
    ),
    "reference that ignores its text": Defect("source", _text_ignored, "source", "same picture", weakens=False),
}

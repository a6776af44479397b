"""Defects: each a way in which published files went wrong, planted into a model that its library made."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from pipeline.lint.contents import contents_of
from pipeline.lint.formats import recognised
from pipeline.lint.formats.protocol import Weight
from pipeline.source.layout import Folder
from tests.lint.models import base, plain

FIRST, SECOND = "blocks.3.attn.to_q", "blocks.3.attn.to_k"


@dataclass
class Opened:
    """A file of safetensors whose tensors and metadata can be changed.

    Attributes:
        tensors: By name.
        metadata: Of the header.
        weights: What the lint makes of it, by name.
    """

    tensors: dict[str, Any]
    metadata: dict[str, str]
    weights: dict[str, Weight]

    def part(self, role: str) -> str:
        return self.weights[f"{FIRST}.weight"].parts[role].name

    def parts(self, layer: str) -> dict[str, str]:
        return {
            role: part.name for role, part in self.weights[f"{layer}.weight"].parts.items() if part.name in self.tensors
        }

    @property
    def scale(self) -> str:
        """The scales that are floats; where there are scales of blocks, they."""
        parts = self.parts(FIRST)
        return parts.get("block scale") or parts["scale"]


@contextmanager
def opened(folder: Path) -> Iterator[Opened]:
    """Change the one file of a folder."""
    from safetensors import safe_open
    from safetensors.torch import save_file

    path = folder / "model.safetensors"
    with safe_open(path, "pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  it is no dict
        metadata = dict(file.metadata() or {})
    reading = recognised(contents_of(Folder(folder)).subjects[0])[1]
    held = Opened(tensors, metadata, {weight.name: weight for weight in reading.weights})
    yield held
    path.unlink()
    save_file({name: tensor.clone().contiguous() for name, tensor in held.tensors.items()}, path, held.metadata or None)


def change(spoil: Callable[[Opened], None]) -> Callable[[Path], None]:
    """Return what spoils a folder by its tensors."""

    def spoiled(folder: Path) -> None:
        with opened(folder) as held:
            spoil(held)

    return spoiled


def lost_scale(held: Opened) -> None:
    del held.tensors[held.scale]


def lost_scales(held: Opened) -> None:
    for weight in held.weights.values():
        for role in ("scale", "block scale"):
            if role in weight.parts:
                held.tensors.pop(weight.parts[role].name)


def codes_alone(held: Opened) -> None:
    """As if a tool had known matrices only: no scale, no marker, no word in the header."""
    codes = {weight.parts["codes"].name for weight in held.weights.values()}
    held.tensors = {name: tensor for name, tensor in held.tensors.items() if name in codes or name in plain(base())}
    held.metadata = {}


def infinite_scale(held: Opened) -> None:
    held.tensors[held.scale] = held.tensors[held.scale].clone()
    held.tensors[held.scale].view(-1)[0] = float("inf")


def scale_of_nan(held: Opened) -> None:
    import torch

    scale = held.tensors[held.scale]
    broken = scale.clone()
    if broken.element_size() == 1:
        broken.view(torch.uint8).view(-1)[0] = 255 if "mxfp8" in held.weights[f"{FIRST}.weight"].scheme else 0x7F
    else:
        broken.view(-1)[0] = float("nan")
    held.tensors[held.scale] = broken


def negative_scale(held: Opened) -> None:
    name = held.scale if held.tensors[held.scale].element_size() > 1 else held.part("scale")
    held.tensors[name] = -held.tensors[name]


def zero_scale(held: Opened) -> None:
    import torch

    held.tensors[held.scale] = torch.zeros_like(held.tensors[held.scale])


def one_zero_scale(held: Opened) -> None:
    import torch

    scale = held.tensors[held.scale].clone()
    scale.view(-1)[:1].view(torch.uint8).zero_()
    held.tensors[held.scale] = scale


def wrong_shape(held: Opened) -> None:
    import torch

    scale = held.tensors[held.scale]
    held.tensors[held.scale] = torch.stack([scale, scale])


def wrong_dtype(held: Opened) -> None:
    import torch

    held.tensors[held.scale] = held.tensors[held.scale].reshape(-1).view(torch.uint8).to(torch.int32).reshape(-1)


def zero_codes(held: Opened) -> None:
    import torch

    name = held.part("codes")
    zero = (
        0x77
        if "nf4" in held.weights[f"{FIRST}.weight"].scheme
        else 0x88
        if "int4" in held.weights[f"{FIRST}.weight"].scheme
        else 0
    )
    held.tensors[name].view(torch.uint8).fill_(zero)


def swapped(held: Opened) -> None:
    first, second = held.parts(FIRST), held.parts(SECOND)
    for role, name in first.items():
        held.tensors[name], held.tensors[second[role]] = held.tensors[second[role]], held.tensors[name]


def louder(held: Opened) -> None:
    name = held.scale if held.tensors[held.scale].element_size() > 1 else held.part("scale")
    held.tensors[name] = (held.tensors[name].float() * 1.25).to(held.tensors[name].dtype)


def rolled(held: Opened) -> None:
    name = held.part("codes")
    held.tensors[name] = (
        held.tensors[name].view(-1).roll(held.tensors[name].shape[-1] // 2 or 1).reshape(held.tensors[name].shape)
    )


def upside_down(held: Opened) -> None:
    name = held.part("codes")
    held.tensors[name] = held.tensors[name].flip(0)


def nibbles_swapped(held: Opened) -> None:
    import torch

    name = held.part("codes")
    codes = held.tensors[name].contiguous().view(torch.uint8)
    held.tensors[name] = (
        ((codes & 15) << 4 | codes >> 4).view(held.tensors[name].dtype).reshape(held.tensors[name].shape)
    )


def lost_layer(held: Opened) -> None:
    for name in [name for name in held.tensors if name.startswith(f"{FIRST}.")]:
        del held.tensors[name]
    held.metadata = without(held.metadata, FIRST)


def without(metadata: dict[str, str], layer: str) -> dict[str, str]:
    """Return metadata that do not speak of a layer."""
    found = {name: value for name, value in metadata.items() if not name.startswith(f"{layer}.")}
    if "tensor_names" in found:
        names = json.loads(found["tensor_names"])
        found["tensor_names"] = json.dumps([name for name in names if not name.startswith(f"{layer}.")])
    if "_quantization_metadata" in found:
        said = json.loads(found["_quantization_metadata"])
        said["layers"].pop(layer, None)
        found["_quantization_metadata"] = json.dumps(said)
    return found


def truncated(folder: Path) -> None:
    path = next(path for path in folder.iterdir() if path.suffix in {".safetensors", ".gguf"})
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size - 100)


EVERYWHERE: Final[dict[str, Callable[[Path], None]]] = {
    "a scale lacks": change(lost_scale),
    "every scale lacks": change(lost_scales),
    "a scale is NaN": change(scale_of_nan),
    "a scale is infinite": change(infinite_scale),
    "scales are negative": change(negative_scale),
    "scales are zero": change(zero_scale),
    "one scale is zero": change(one_zero_scale),
    "a scale has another shape": change(wrong_shape),
    "a scale has another dtype": change(wrong_dtype),
    "codes are zero": change(zero_codes),
    "two layers are swapped": change(swapped),
    "a layer is a quarter louder": change(louder),
    "codes are half a row off": change(rolled),
    "a layer is upside down": change(upside_down),
    "a layer lacks": change(lost_layer),
    "the file ends early": truncated,
}
"""Those that every format of safetensors can have."""

LEFT_ALONE: Final = ("comfy-int8", "comfy-nvfp4", "comfy-float8", "bfl-float8", "bfl-nvfp4", "bnb-nf4")
FOUR_BITS: Final = (
    "comfy-nvfp4",
    "bfl-nvfp4",
    "modelopt-nvfp4",
    "bnb-nf4",
    "bnb-fp4",
    "compressed-w4a16",
    "compressed-nvfp4",
)


# ComfyUI's markers


def marker(text: bytes) -> Callable[[Path], None]:
    """Return what gives a layer another marker, and the header no word of it."""

    def spoil(held: Opened) -> None:
        import torch

        held.tensors[f"{FIRST}.comfy_quant"] = torch.tensor(list(text), dtype=torch.uint8)
        held.metadata = {}

    return change(spoil)


def said(layer: str = FIRST, **values: Any) -> bytes:
    return json.dumps(values).encode()


def markers_of_nul(held: Opened) -> None:
    for name in held.tensors:
        if name.endswith(".comfy_quant"):
            held.tensors[name] = held.tensors[name] * 0
    held.metadata = {}


def unmarked_layer(held: Opened) -> None:
    del held.tensors[f"{FIRST}.comfy_quant"]
    held.metadata = without(held.metadata, FIRST)


def no_markers(held: Opened) -> None:
    for name in [name for name in held.tensors if name.endswith(".comfy_quant")]:
        del held.tensors[name]
    held.metadata = {}


def without_prefix(held: Opened) -> None:
    held.tensors = {f"model.diffusion_model.{name}": tensor for name, tensor in held.tensors.items()}
    held.tensors = {name: tensor for name, tensor in held.tensors.items() if not name.endswith(".comfy_quant")}


def header_disagrees(held: Opened) -> None:
    told = json.loads(held.metadata["_quantization_metadata"])
    told["layers"][FIRST]["format"] = "float8_e4m3fn"
    held.metadata["_quantization_metadata"] = json.dumps(told)


def marker_without_weight(held: Opened) -> None:
    del held.tensors[f"{FIRST}.weight"]


def lost_rotation(held: Opened) -> None:
    """A rotated layer that is marked as if it were not."""
    import torch

    held.tensors[f"{FIRST}.comfy_quant"] = torch.tensor(list(said(format="int8_tensorwise")), dtype=torch.uint8)
    told = json.loads(held.metadata["_quantization_metadata"])
    told["layers"][FIRST] = {"format": "int8_tensorwise"}
    held.metadata["_quantization_metadata"] = json.dumps(told)


# nvfp4, and scaled float8


def inputs_lost(count: int) -> Callable[[Path], None]:
    """Return what drops the scales of activations of so many layers."""

    def spoil(held: Opened) -> None:
        for name in sorted(name for name in held.tensors if name.endswith(".input_scale"))[:count]:
            del held.tensors[name]

    return change(spoil)


def inputs_of_one(held: Opened) -> None:
    for name, tensor in held.tensors.items():
        if name.endswith(".input_scale"):
            held.tensors[name] = tensor * 0 + 1


def other_spelling(held: Opened) -> None:
    for name in [name for name in held.tensors if name.endswith(".scale_weight")]:
        held.tensors[name.replace("scale_weight", "weight_scale")] = held.tensors.pop(name)


def both_spellings(held: Opened) -> None:
    name = f"{FIRST}.scale_weight"
    held.tensors[name.replace("scale_weight", "weight_scale")] = held.tensors.pop(name)


def no_mark(held: Opened) -> None:
    del held.tensors["scaled_fp8"]


def stranger(held: Opened) -> None:
    import torch

    held.tensors["blocks.3.attn.to_v.weight"] = torch.ones(64, 256, dtype=torch.int8)


# configurations and files


def without_config(folder: Path) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps({"_class_name": "Model"}))


def config(**values: Any) -> Callable[[Path], None]:
    """Return what writes other words into config.json."""

    def spoil(folder: Path) -> None:
        path = folder / "config.json"
        found = json.loads(path.read_text()) if path.exists() else {}
        found.setdefault("quantization_config", {}).update(values)
        path.write_text(json.dumps(found))

    return spoil


def index_disagrees(folder: Path) -> None:
    """An index that puts one tensor into a shard that is not there, and leaves one out."""
    from safetensors import safe_open

    with safe_open(folder / "model.safetensors", "pt") as file:
        names = sorted(file.keys())
    shards = dict.fromkeys(names[1:], "model.safetensors") | {
        "blocks.9.gone.weight": "model-00002-of-00002.safetensors"
    }
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": shards}))


def state_broken(held: Opened) -> None:
    import torch

    name = next(name for name in held.tensors if name.startswith(f"{FIRST}.weight.quant_state"))
    held.tensors[name] = torch.tensor(list(b'{"quant_type": "nf4"'), dtype=torch.uint8)


def header_forgets(held: Opened) -> None:
    """A torchao parameter that the header does not say anything of."""
    held.metadata.pop(f"{FIRST}.weight")


# GGUF


def header_of(path: Path) -> Any:
    from pipeline.source.gguf import parse_header

    content = path.read_bytes()
    return parse_header(lambda at, length: content[at : at + length], len(content), path.name)


def bytes_of(spoil: Callable[[bytearray, dict[str, Any]], None]) -> Callable[[Path], None]:
    """Return what spoils the bytes of a GGUF file, given where its tensors lie."""

    def spoiled(folder: Path) -> None:
        path = next(folder.glob("*.gguf"))
        content, slots = bytearray(path.read_bytes()), header_of(path).tensors
        spoil(content, slots)
        path.write_bytes(content)

    return spoiled


def half_of_nan(content: bytearray, slots: dict[str, Any]) -> None:
    begin = slots[f"{FIRST}.weight"].begin
    content[begin : begin + 2] = struct.pack("<e", float("nan"))


def zeroed(content: bytearray, slots: dict[str, Any]) -> None:
    slot = slots[f"{FIRST}.weight"]
    content[slot.begin : slot.end] = bytes(slot.end - slot.begin)


def exchanged(content: bytearray, slots: dict[str, Any]) -> None:
    one, other = slots[f"{FIRST}.weight"], slots[f"{SECOND}.weight"]
    first = bytes(content[one.begin : one.end])
    content[one.begin : one.end] = content[other.begin : other.end]
    content[other.begin : other.end] = first


def turned(first: int) -> Callable[[bytearray, dict[str, Any]], None]:
    """Return what exchanges the codes in each byte of blocks whose codes begin at a byte and end with 16."""

    def spoil(content: bytearray, slots: dict[str, Any]) -> None:
        slot = slots[f"{FIRST}.weight"]
        size = first + 16
        for at in range(slot.begin, slot.end, size):
            for place in range(at + first, at + size):
                content[place] = content[place] >> 4 | (content[place] & 15) << 4

    return spoil


def shifted(content: bytearray, slots: dict[str, Any]) -> None:
    slot = slots[f"{FIRST}.weight"]
    content[slot.begin : slot.end] = content[slot.begin + 2 : slot.end] + bytes(2)


ROTATED: Final = {"format": "int8_tensorwise", "convrot": True}
PLANTED: Final[list[tuple[str, str, Callable[[Path], None]]]] = [
    ("comfy-int8", "markers are NUL bytes", change(markers_of_nul)),
    ("comfy-int8", "one layer is not marked", change(unmarked_layer)),
    ("comfy-int8", "the marker is no JSON", marker(b"int8")),
    ("comfy-int8", "the marker has no format", marker(said(bits=8))),
    ("comfy-int8", "the marker says int8_blockwise", marker(said(format="int8_blockwise"))),
    ("comfy-float8", "the marker says float8_e4m3fn_rowwise", marker(said(format="float8_e4m3fn_rowwise"))),
    ("comfy-int8", "the marker says an unknown format", marker(said(format="int7"))),
    ("comfy-int8", "the header speaks of names without a prefix", change(without_prefix)),
    ("comfy-int8", "marker and header disagree", change(header_disagrees)),
    ("comfy-int8", "the weight of a marker lacks", change(marker_without_weight)),
    ("comfy-convrot", "a rotation is not marked", change(lost_rotation)),
    ("comfy-convrot", "the marker says groups of 100", marker(said(**ROTATED, convrot_groupsize=100))),
    ("comfy-nvfp4", "a rotated nvfp4", marker(said(format="nvfp4", convrot=True))),
    ("comfy-nvfp4", "no markers at all", change(no_markers)),
    ("comfy-float8", "no markers at all", change(no_markers)),
    ("comfy-int8", "codes that nothing reads", change(stranger)),
    ("bfl-nvfp4", "input scales lack in some layers", inputs_lost(8)),
    ("bfl-nvfp4", "no input scales at all", inputs_lost(99)),
    ("bfl-nvfp4", "input scales are one", change(inputs_of_one)),
    ("modelopt-nvfp4", "input scales lack in some layers", inputs_lost(8)),
    ("modelopt-float8", "the configuration says NVFP4", config(quant_algo="NVFP4")),
    ("modelopt-float8", "the configuration says an unknown format", config(quant_algo="FP7")),
    ("scaled-float8", "the scales have the other name", change(other_spelling)),
    ("scaled-float8", "one scale has the other name", change(both_spellings)),
    ("scaled-float8", "no scaled_fp8", change(no_mark)),
    ("bnb-nf4", "a state is no JSON", change(state_broken)),
    ("plain", "the configuration says bitsandbytes", config(quant_method="bitsandbytes")),
    ("torchao-int8", "the header forgets a parameter", change(header_forgets)),
    ("comfy-int8", "index and file disagree", index_disagrees),
    ("gguf-q8_0", "a scale is NaN", bytes_of(half_of_nan)),
    ("gguf-q4_0", "a tensor is zero", bytes_of(zeroed)),
    ("gguf-q8_0", "two layers are swapped", bytes_of(exchanged)),
    ("gguf-q5_1", "a layer is two bytes off", bytes_of(shifted)),
    ("gguf-q8_0", "the file ends early", truncated),
    ("gguf-q4_0", "the two codes of a byte are swapped", bytes_of(turned(2))),
    ("gguf-mxfp4", "the two codes of a byte are swapped", bytes_of(turned(1))),
    ("quanto-int4", "the two codes of a byte are swapped", change(nibbles_swapped)),
    *((form, "codes are all that is left", change(codes_alone)) for form in LEFT_ALONE),
    *((form, "the configuration says nothing", without_config) for form in ("bnb-nf4", "torchao-int8", "quanto-int8")),
    *((form, "the two codes of a byte are swapped", change(nibbles_swapped)) for form in FOUR_BITS),
]  # fmt: skip
"""Those that one format has."""

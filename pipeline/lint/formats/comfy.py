"""ComfyUI's layouts: weights and scales beside a marker that says how a layer is to be read.

The marker is a tensor ``<layer>.comfy_quant`` of UTF-8 JSON, or an entry of ``_quantization_metadata`` in the header,
of which ComfyUI makes such tensors when it loads (``comfy/utils.py``, ``convert_old_quants``). What it does not mark is
read as it stands, scales or not. Layouts as in ``comfy/quant_ops.py`` and ``comfy/ops.py`` of 2026-10, the arithmetic
as in comfy-kitchen 0.2.40.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from pipeline.lint.decoding import (
    E2M1,
    HIGH_FIRST,
    TILE,
    float8_levels,
    float8_values,
    nibbles,
    rotated,
    scaled,
    unswizzled,
)
from pipeline.lint.faults import Fault, told
from pipeline.lint.formats.protocol import FLOORS, Bytes, Floats, Held, Part, Reading, Weight
from pipeline.lint.formats.rules import BLOCK, FLOAT8, SCALE_FLOATS, by_row, float8, stems
from pipeline.lint.subject import Subject, Tensor
from pipeline.source.strict import parse

MARKER: Final = ".comfy_quant"
METADATA: Final = "_quantization_metadata"
MARKER_LIMIT: Final = 4096  # bytes of a marker that is read
PREFIXES: Final = ("model.diffusion_model.", "model.", "transformer.", "diffusion_model.")
TITLE: Final = "ComfyUI"
LOADERS: Final = "ComfyUI as of 2026-10 and who follows it; not diffusers"
AGAIN: Final = "Write the marker again as ComfyUI's QUANT_ALGOS spells its formats."
UNREAD: Final = {
    "int8_blockwise": "Quantize it again as int8_tensorwise with one scale a row.",
    "float8_e4m3fn_rowwise": "Quantize it again as float8_e4m3fn with one scale a tensor.",
    "float8_e4m3fn_blockwise": "Quantize it again as float8_e4m3fn with one scale a tensor.",
}
"""Formats that tools write, and for which stock ComfyUI raises KeyError."""


def claims(subject: Subject) -> bool:
    """Return whether anything in a file is marked."""
    return METADATA in subject.metadata or any(name.endswith(MARKER) for name in subject.tensors)


def read(subject: Subject) -> Reading:
    """Return the weights that are marked, each by its marker."""
    marks, faults = markers(subject)
    read_as = {stem: mark(subject, stem, said) for stem, said in marks.items()}
    weights = [found for found in read_as.values() if isinstance(found, Weight)]
    faults += [found for found in read_as.values() if isinstance(found, Fault)]
    broken = {stem for stem, found in read_as.items() if isinstance(found, Fault)}
    used = {f"{stem}{MARKER}" for stem in stems(subject.tensors, MARKER)}
    used |= {f"{stem}.weight{end}" for stem in broken for end in ("", "_scale", "_scale_2")}
    faults += unmarked(subject, marks)
    used |= {f"{stem}.{end}" for stem in marks for end in ("input_scale", "pre_quant_scale")}
    return Reading(TITLE, weights, faults, frozenset(used), LOADERS)


def markers(subject: Subject) -> tuple[dict[str, dict[str, Any]], list[Fault]]:
    """Return what is said of each layer, by its name, and what cannot be read."""
    found, faults = dict[str, dict[str, Any]](), list[Fault]()
    if METADATA in subject.metadata:
        listed = layers_listed(subject.metadata[METADATA])
        if listed is None:
            text = f"`{METADATA}` in the header is no JSON object with `layers`."
            faults.append(subject.fault("marker-unknown", "", text, AGAIN))
        for stem, said in (listed or {}).items():
            if f"{stem}.weight" not in subject.tensors:
                faults.append(astray(subject, stem))
            elif isinstance(said, dict):
                found[stem] = said
            else:
                text = f"`{METADATA}` says {told(json.dumps(said))} of it instead of an object with a `format`."
                faults.append(subject.fault("marker-unknown", f"{stem}.weight", text, AGAIN))
    for stem in stems(subject.tensors, MARKER):
        said = marker(subject, subject.tensors[f"{stem}{MARKER}"])
        if isinstance(said, Fault):
            faults.append(said)
        elif f"{stem}.weight" not in subject.tensors:
            text = "There is a marker and no weight beside it."
            faults.append(subject.fault("marker-unknown", f"{stem}{MARKER}", text, AGAIN))
        elif said.get("format") != found.get(stem, said).get("format"):
            kinds = [told(str(each.get("format"))) for each in (said, found[stem])]
            text = f"Its marker says {kinds[0]}, and the header {kinds[1]}."
            faults.append(subject.fault("index-disagrees", f"{stem}.weight", text, AGAIN))
        else:
            found[stem] = said
    return found, faults


def layers_listed(text: Any) -> dict[str, Any] | None:
    """Return what the header says of layers; None where it cannot be read."""
    try:
        layers = parse(text.encode())["layers"]
    except (ValueError, KeyError, TypeError, AttributeError):
        return None
    return layers if isinstance(layers, dict) else None


def astray(subject: Subject, stem: str) -> Fault:
    """Return the fault that the header speaks of a layer that is not there, perhaps for want of a prefix."""
    meant = next((prefix for prefix in PREFIXES if f"{prefix}{stem}.weight" in subject.tensors), "")
    text = f"`{METADATA}` speaks of this layer, which has no weight"
    text += f": the file calls it {told(meant + stem)}, and ComfyUI looks for the exact name." if meant else "."
    return subject.fault("marker-unknown", f"{stem}.weight", text, "Write the layers' full names.")


def marker(subject: Subject, tensor: Tensor) -> dict[str, Any] | Fault:
    """Return what a marker says, or what is wrong with it."""
    content = subject.bytes(tensor, 0, MARKER_LIMIT)
    if tensor.dtype not in {"U8", "I8"}:
        text = f"The marker is {tensor.dtype}, and ComfyUI reads it as bytes of JSON."
        return subject.fault("marker-unknown", tensor.name, text, AGAIN)
    if not content.strip(b"\0"):
        text = f"The marker is {len(content)} NUL bytes, so ComfyUI cannot read how the layer is quantized."
        return subject.fault("marker-unknown", tensor.name, text, AGAIN)
    try:
        said = parse(content)
    except ValueError:
        said = None
    if not isinstance(said, dict):
        text = f"The marker is no JSON object, but {told(content.decode(errors='replace'))}."
        return subject.fault("marker-unknown", tensor.name, text, AGAIN)
    return said


def mark(subject: Subject, stem: str, said: Mapping[str, Any]) -> Weight | Fault:
    """Return the weight of a marker, or why no loader reads it."""
    name, kind, layer = f"{stem}.weight", said.get("format"), Layer(subject, stem, said)
    if reason := unreadable(kind) or misturned(layer):
        return subject.fault("marker-unknown", name, *reason)
    if len(layer.codes.shape) < 2:
        text = f"It is said to be {kind} and has the shape {list(layer.codes.shape)}."
        return subject.fault("weight-wrong", name, text)
    return LAYOUTS[str(kind)](layer)


def unreadable(kind: Any) -> tuple[str, str] | None:
    """Return why ComfyUI does not read a format, and what to do; None where it does."""
    if not isinstance(kind, str):
        return "The marker has no `format`: stock ComfyUI raises ValueError, and a node of its own may read it.", AGAIN
    if kind in UNREAD:
        return f"The marker says {kind}, for which stock ComfyUI raises KeyError.", UNREAD[kind]
    return None if kind in LAYOUTS else (f"The marker says {told(kind)}, which is no format of ComfyUI's.", AGAIN)


def misturned(layer: Layer) -> tuple[str, str] | None:
    """Return why a layer is not turned back as it should be, and what to do; None where it is."""
    size = layer.groups
    if size and layer.said["format"] == "nvfp4":
        text = "The marker says that it is rotated, which ComfyUI does not undo in nvfp4: it computes nonsense."
        return text, "Quantize it again without the rotation, or as int8."
    if size and (size < 4 or size & (size - 1) or size.bit_length() % 2 == 0):
        return f"The marker says groups of {size}, and rotations are of a power of four.", AGAIN
    return None


def unmarked(subject: Subject, marks: Mapping[str, Any]) -> list[Fault]:
    """Return the faults of weights that are quantized and not marked, whose scales ComfyUI drops."""
    remedy = "Mark it, or every layer like it is read without its scale."
    return [
        subject.fault("marker-missing", f"{stem}.weight", "It has scales and no marker, so ComfyUI drops them.", remedy)
        for stem in stems(subject.tensors, ".weight_scale")
        if stem not in marks and f"{stem}.weight" in subject.tensors and f"{stem}{MARKER}" not in subject.tensors
    ]


@dataclass(frozen=True)
class Layer:
    """A marked layer.

    Attributes:
        subject: The model.
        stem: Its name.
        said: What its marker says.
    """

    subject: Subject
    stem: str
    said: Mapping[str, Any]

    @property
    def codes(self) -> Tensor:
        """The tensor of its codes."""
        return self.subject.tensors[f"{self.stem}.weight"]

    @property
    def groups(self) -> int:
        """How many values are rotated together; 0 where none are."""
        params = self.said.get("params")
        said = {**(params if isinstance(params, dict) else {}), **self.said}
        size = said.get("convrot_groupsize", 256)
        return (size if type(size) is int else -1) if said.get("convrot") else 0


def int8(layer: Layer) -> Weight:
    """Return a weight of 8-bit integers with one scale a row or a tensor, perhaps rotated."""
    codes, groups = layer.codes, layer.groups
    rows, columns = codes.shape[0], codes.size // codes.shape[0] if codes.shape[0] else 0
    there = layer.subject.tensors.get(f"{layer.stem}.weight_scale")
    plain = by_row("I8", max(columns, 1), scale_dtype=there.dtype if there else "F32")

    def turned(first: int, packed: Bytes, held: Held) -> Floats:
        return rotated(plain(first, packed, held), groups)

    title = f"int8, ConvRot of {groups}" if groups else "int8 per row"
    if there and there.shape in {(), (1,)}:
        title = "int8 per tensor"
    name = codes.name
    ragged = bool(groups) and columns % groups != 0
    return Weight(
        name,
        f"{title} (ComfyUI)",
        codes.shape,
        name,
        {
            "codes": Part(name, ("I8",), (None if not ragged else (rows, -(-columns // groups) * groups),)),
            "scale": Part(f"{layer.stem}.weight_scale", SCALE_FLOATS, ((rows, 1), (rows,), (), (1,)), positive=True),
        },
        None if ragged else turned if groups else plain,
        max(columns, 1),
        floor=FLOORS[8],
    )


def float8_of(layer: Layer) -> Weight:
    """Return a weight of float8 with one scale."""
    name = layer.codes.name
    kind = "e5m2" if layer.said["format"] == "float8_e5m2" else "e4m3"
    title = f"float8 {kind} per tensor (ComfyUI)"
    found = float8(layer.subject, name, f"{layer.stem}.weight_scale", rows=False, title=title)
    dtype = "F8_E5M2" if kind == "e5m2" else "F8_E4M3"
    parts = {**found.parts, "codes": Part(name, (dtype,))}
    parts["input"] = Part(f"{layer.stem}.input_scale", ("F32",), ((), (1,)), needed=False, positive=True)
    return Weight(name, title, found.shape, name, parts, found.decode, found.unit, floor=found.floor)


def swizzled(name: str, dtype: str, shape: tuple[int, int], run: int) -> Part:
    """Return block scales of a float of 8 bits, which ComfyUI takes as bytes too.

    Args:
        name: Of their tensor.
        dtype: What they are.
        shape: Of the weight.
        run: Values that share one.
    """
    rows, columns = shape[0], shape[1] // run
    tiles = -(-rows // TILE) * TILE, -(-columns // 4) * 4
    return Part(
        name,
        (dtype, "U8"),
        (tiles,),
        positive=True,
        read_as=dtype,
        run=run,
        laid=lambda values: unswizzled(values, 0, rows, columns),
    )


def nvfp4(layer: Layer) -> Weight:
    """Return a weight of nvfp4: the first code in the high bits, block scales as tensor cores read them."""
    codes, stem = layer.codes, layer.stem
    rows, columns = codes.shape[0], codes.shape[1] * 2

    def decode(first: int, packed: Bytes, held: Held) -> Floats:
        values = nibbles(packed, tuple(E2M1.tolist()), HIGH_FIRST)
        row, count = first // columns, values.size // columns
        scales = float8_levels("F8_E4M3")[unswizzled(held["block scale"], row, row + count, columns // BLOCK)]
        return scaled(values, scales * held["scale"].reshape(-1)[0], BLOCK)

    return Weight(
        codes.name,
        "nvfp4 (ComfyUI)",
        (rows, columns),
        codes.name,
        {
            "codes": Part(codes.name, ("U8",), ((rows, columns // 2),)),
            "block scale": swizzled(f"{stem}.weight_scale", "F8_E4M3", (rows, columns), BLOCK),
            "scale": Part(f"{stem}.weight_scale_2", ("F32",), ((), (1,)), positive=True),
            "input": Part(f"{stem}.input_scale", ("F32",), ((), (1,)), needed=False, positive=True),
        },
        decode if columns % BLOCK == 0 else None,
        max(columns, 1),
        floor=FLOORS[4],
    )


def mxfp8(layer: Layer) -> Weight:
    """Return a weight of mxfp8: float8 in blocks of 32 with a power of two each."""
    codes, block = layer.codes, 32
    rows, columns = codes.shape[0], codes.shape[1]

    def decode(first: int, packed: Bytes, held: Held) -> Floats:
        values = float8_values(packed, "F8_E4M3")
        row, count = first // columns, values.size // columns
        scales = unswizzled(held["block scale"], row, row + count, columns // block)
        return scaled(values, float8_levels("F8_E8M0")[scales], block)

    return Weight(
        codes.name,
        "mxfp8 (ComfyUI)",
        codes.shape,
        codes.name,
        {
            "codes": Part(codes.name, FLOAT8[:1], ((rows, columns),)),
            "block scale": swizzled(f"{layer.stem}.weight_scale", "F8_E8M0", (rows, columns), block),
            "input": Part(f"{layer.stem}.input_scale", ("F32",), ((), (1,)), needed=False, positive=True),
        },
        decode if columns % block == 0 else None,
        max(columns, 1),
        floor=FLOORS[8],
    )


def packed(layer: Layer) -> Weight:
    """Return a weight whose parts are known and whose values are not decoded here."""
    codes, kind, stem = layer.codes, layer.said["format"], layer.stem
    rows, columns = codes.shape[0], codes.shape[1] * 2
    parts = {"codes": Part(codes.name, ("I8", "U8"))}
    if kind == "convrot_w4a4":
        parts["scale"] = Part(f"{stem}.weight_scale", SCALE_FLOATS, positive=True)
    elif kind == "asym_w4a8_int8":
        parts["scale"] = Part(f"{stem}.weight_s_rel", ("F8_E4M3", "U8"), positive=True, read_as="F8_E4M3")
        parts["block scale"] = Part(f"{stem}.weight_s_channel", ("F32",), ((rows,), (rows, 1)), positive=True)
        parts["level"] = Part(f"{stem}.weight_codebook", ("F32",), ((16,),), needed=False)
        parts["state"] = Part(f"{stem}.weight_correction", ("F32", "BF16", "F16"), needed=False)
    else:
        parts["scale"] = Part(f"{stem}.weight_scale", SCALE_FLOATS, positive=True)
        parts["zero"] = Part(f"{stem}.weight_zeros", SCALE_FLOATS)
    return Weight(codes.name, f"{kind} (ComfyUI)", (rows, columns), codes.name, parts, floor=FLOORS[4])


LAYOUTS: Final[dict[str, Callable[[Layer], Weight]]] = {
    "int8_tensorwise": int8,
    "float8_e4m3fn": float8_of,
    "float8_e5m2": float8_of,
    "nvfp4": nvfp4,
    "mxfp8": mxfp8,
    "convrot_w4a4": packed,
    "asym_w4a8_int8": packed,
    "awq_w4a16": packed,
}

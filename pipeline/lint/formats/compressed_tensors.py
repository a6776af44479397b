"""compressed-tensors, as llm-compressor writes it: packed integers, integers, float8 or nvfp4, by its configuration."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np

from pipeline.lint.decoding import E2M1, LOW_FIRST, as_floats, float8_levels, nibbles, scaled
from pipeline.lint.faults import Fault
from pipeline.lint.formats.protocol import FLOORS, Bytes, Floats, Held, Part, Reading, Shapes, Weight
from pipeline.lint.formats.rules import BLOCK, FLOAT8, SCALE_FLOATS, by_row, stems
from pipeline.lint.subject import Subject

TITLE: Final = "compressed-tensors"
LOADERS: Final = "vLLM; transformers with compressed-tensors"
PACKED: Final = ".weight_packed"
SIGNED: Final = tuple(float(level) for level in range(-8, 8))


def claims(subject: Subject) -> bool:
    """Return whether names or configuration are those of compressed-tensors."""
    return subject.method == "compressed-tensors" or any(name.endswith(PACKED) for name in subject.tensors)


def read(subject: Subject) -> Reading:
    """Return its weights."""
    faults = list[Fault]()
    groups = subject.quantization_config.get("config_groups")
    said = [group for group in groups.values() if isinstance(group, dict)] if isinstance(groups, dict) else []
    if not said:
        text = "The configuration has no `config_groups`, so nothing says how many bits a code has."
        faults.append(subject.fault("marker-missing", "", text))
    schemes = [group["weights"] for group in said if isinstance(group.get("weights"), dict)]
    inputs = [group["input_activations"] for group in said if isinstance(group.get("input_activations"), dict)]
    static = any(each.get("dynamic") is False for each in inputs)
    weights = [packed(subject, stem, schemes, static=static) for stem in stems(subject.tensors, PACKED)]
    for stem in stems(subject.tensors, ".weight_scale"):
        if f"{stem}.weight" in subject.tensors:
            weights.append(whole(subject, stem))
        elif f"{stem}{PACKED}" not in subject.tensors:
            text = "There is a scale and no weight beside it."
            faults.append(subject.fault("tensor-missing", f"{stem}.weight_scale", text))
    if said and not weights:
        faults.append(
            subject.fault("index-disagrees", "", f"The configuration names {TITLE}, and no weight has a scale.")
        )
    ends = (
        ".weight_shape",
        ".weight_g_idx",
        ".input_scale",
        ".input_zero_point",
        ".weight_zero_point",
        ".k_scale",
        ".v_scale",
    )
    used = frozenset(name for name in subject.tensors if name.endswith(ends))
    return Reading(TITLE, weights, faults, used, LOADERS)


def packed(subject: Subject, stem: str, schemes: list[Mapping[str, Any]], *, static: bool) -> Weight:
    """Return a weight of packed codes: nvfp4 where they are bytes, integers where they are words."""
    codes = subject.tensors[f"{stem}{PACKED}"]
    if codes.dtype == "U8":
        return nvfp4(subject, stem, static=static)
    bits = next((each.get("num_bits") for each in schemes if each.get("type", "int") == "int"), 4)
    bits = bits if type(bits) is int and 1 <= bits <= 8 else 4
    symmetric = all(each.get("symmetric", True) for each in schemes)
    scale = subject.tensors.get(f"{stem}.weight_scale")
    rows, words = (codes.shape[0], codes.shape[-1]) if len(codes.shape) == 2 else (0, 0)
    group = next((each.get("group_size") for each in schemes if type(each.get("group_size")) is int), 0) or 0
    columns = words * 32 // bits
    groups = -(-columns // group) if group > 0 else 1
    shapes: Shapes = ((rows, groups), (rows,)) if groups == 1 else ((rows, groups),)
    parts = {
        "codes": Part(codes.name, ("I32",), ((rows, words),)),
        "scale": Part(f"{stem}.weight_scale", SCALE_FLOATS, shapes, positive=True, run=max(group, 0)),
        "state": Part(f"{stem}.weight_shape", ("I64", "I32"), ((2,),)),
    }
    if not symmetric:
        parts["zero"] = Part(f"{stem}.weight_zero_point", ("I32", "I8"))
    title = f"int{bits}" + (f" in groups of {group}" if group > 0 else " per row") + f" ({TITLE})"
    known = symmetric and bits in {4, 8} and scale is not None and columns % max(group, 1) == 0
    dtype, run = scale.dtype if scale else "F32", group if group > 0 else columns

    def decode(first: int, words: Bytes, held: Held) -> Floats:
        values = nibbles(words, SIGNED, LOW_FIRST) if bits == 4 else words.astype(np.float32) - np.float32(128)
        scales = held["scale"].reshape(-1)[first // run : (first + values.size) // run]
        return scaled(values, as_floats(scales, dtype), run)

    name = f"{stem}.weight"
    floor = FLOORS.get(bits, FLOORS[4])
    return Weight(
        name, title, (rows, columns), codes.name, parts, decode if known else None, max(columns, 1), floor=floor
    )


def nvfp4(subject: Subject, stem: str, *, static: bool) -> Weight:
    """Return a weight of nvfp4, whose global scale divides."""
    codes = subject.tensors[f"{stem}{PACKED}"]
    rows, columns = codes.ends[0], codes.ends[1] * 2
    parts = {
        "codes": Part(codes.name, ("U8",), ((rows, columns // 2),)),
        "block scale": Part(
            f"{stem}.weight_scale", ("F8_E4M3",), ((rows, columns // BLOCK),), positive=True, run=BLOCK
        ),
        "scale": Part(f"{stem}.weight_global_scale", ("F32",), ((), (1,)), positive=True),
        "input": Part(f"{stem}.input_global_scale", ("F32",), ((), (1,)), needed=static, positive=True),
    }

    def decode(first: int, packed: Bytes, held: Held) -> Floats:
        values = nibbles(packed, tuple(E2M1.tolist()), LOW_FIRST)
        part = held["block scale"].reshape(-1)[first // BLOCK : (first + values.size) // BLOCK]
        return scaled(values, float8_levels("F8_E4M3")[part] / held["scale"].reshape(-1)[0], BLOCK)

    whole = columns % BLOCK == 0
    title = f"nvfp4 ({TITLE})"
    return Weight(
        f"{stem}.weight",
        title,
        (rows, columns),
        codes.name,
        parts,
        decode if whole else None,
        max(columns, 1),
        floor=FLOORS[4],
    )


def whole(subject: Subject, stem: str) -> Weight:
    """Return a weight with a code a byte: float8 or int8, with one scale a row or a tensor."""
    codes, scale = subject.tensors[f"{stem}.weight"], subject.tensors[f"{stem}.weight_scale"]
    rows = codes.shape[0] if codes.shape else 1
    columns = max(codes.size // rows, 1) if rows else 1
    parts = {
        "codes": Part(codes.name, ("I8", *FLOAT8)),
        "scale": Part(scale.name, SCALE_FLOATS, ((rows, 1), (rows,), (1,), ()), positive=True),
    }
    known = codes.dtype in {"I8", *FLOAT8} and scale.size in {1, rows}
    decode = by_row(codes.dtype, columns, scale_dtype=scale.dtype) if known else None
    title = f"{'int8' if codes.dtype == 'I8' else 'float8'} per {'row' if scale.size == rows else 'tensor'} ({TITLE})"
    return Weight(codes.name, title, codes.shape, codes.name, parts, decode, columns, floor=FLOORS[8])

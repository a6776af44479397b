"""Rules that several formats share: layers by the ending of a name, and the layouts that more than one has."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from pipeline.lint.decoding import E2M1, LOW_FIRST, as_floats, float8_levels, float8_values, nibbles, scaled
from pipeline.lint.faults import Fault
from pipeline.lint.formats.protocol import FLOORS, Bytes, Decode, Floats, Held, Part, Weight
from pipeline.lint.subject import Subject, Tensor

SCALE_FLOATS = ("F32", "BF16", "F16")
FLOAT8 = ("F8_E4M3", "F8_E5M2")
BLOCK = 16  # values of nvfp4 that share a scale
CALIBRATE = "Measure it on activations; a loader that lacks it makes white pictures or stops."


def stems(names: Iterable[str], ending: str) -> list[str]:
    """Return what stands before an ending, of the names that have it."""
    return [name.removesuffix(ending) for name in names if name.endswith(ending)]


def unsaid(subject: Subject, title: str) -> list[Fault]:
    """Return the fault that a configuration lies beside weights and does not say that they are quantized."""
    if not subject.config or subject.quantization_config:
        return []
    text = f"config.json has no `quantization_config`, so from_pretrained does not read its weights as {title}'s."
    return [subject.fault("index-disagrees", "", text, "Add it as the library writes it.")]


def by_row(dtype: str, columns: int, role: str = "scale", scale_dtype: str = "F32") -> Decode:
    """Return what decodes codes that have one scale a row, or one altogether.

    Args:
        dtype: Of the codes.
        columns: Of the weight.
        role: Under which the scale is held.
        scale_dtype: Of the scale.
    """

    def decode(first: int, codes: Bytes, held: Held) -> Floats:
        scale = as_floats(held[role].reshape(-1), scale_dtype)
        values = codes.view(np.int8).astype(np.float32) if dtype == "I8" else float8_values(codes, dtype)
        if scale.size == 1:
            return scaled(values, scale, values.size)
        row = first // columns
        return scaled(values, scale[row : row + values.size // columns], columns)

    return decode


def bare(dtype: str) -> Decode:
    """Return what reads float8 codes as they stand."""
    return lambda _first, codes, _held: float8_values(codes, dtype)


def float8(subject: Subject, name: str, scale: str, *, rows: bool, title: str) -> Weight:
    """Return a weight of float8 codes and a float32 scale, one a row or one a tensor."""
    codes = subject.tensors[name]
    count = codes.shape[0] if codes.shape else 1
    per_tensor, per_row = ((), (1,)), ((count,), (count, *(1,) * (len(codes.shape) - 1)))
    columns = codes.size // count if count else 0
    there = subject.tensors.get(scale)
    dtype = there.dtype if there else "F32"
    return Weight(
        name,
        title,
        codes.shape,
        name,
        {
            "codes": Part(name, FLOAT8, (codes.shape,)),
            "scale": Part(scale, SCALE_FLOATS, per_row if rows else per_tensor, positive=True),
        },
        by_row(codes.dtype, max(columns, 1), scale_dtype=dtype) if codes.dtype in FLOAT8 else None,
        max(columns, 1),
        floor=FLOORS[8],
    )


def nvfp4(subject: Subject, stem: str, title: str, *, calibrated: bool) -> Weight:
    """Return a weight as ModelOpt and Black Forest Labs lay it out.

    Two codes a byte, the first in the low bits; one e4m3 scale for 16 values, in rows; one float32 for all, and one for
    the activations.

    Args:
        subject: The model.
        stem: The layer's name and a dot.
        title: How the scheme is called.
        calibrated: Whether the scale of the activations is needed.
    """
    codes = subject.tensors[f"{stem}weight"]
    rows, columns = codes.ends[0], codes.ends[1] * 2

    def decode(first: int, packed: Bytes, held: Held) -> Floats:
        values = nibbles(packed, tuple(E2M1.tolist()), LOW_FIRST)
        block = first // BLOCK
        scales = float8_levels("F8_E4M3")[held["block scale"].reshape(-1)[block : block + values.size // BLOCK]]
        return scaled(values, scales * held["scale"].reshape(-1)[0], BLOCK)

    return Weight(
        f"{stem}weight",
        title,
        (rows, columns),
        codes.name,
        {
            "codes": Part(codes.name, ("U8",), ((rows, columns // 2),)),
            "block scale": Part(
                f"{stem}weight_scale", ("F8_E4M3",), ((rows, columns // BLOCK),), positive=True, run=BLOCK
            ),
            "scale": Part(f"{stem}weight_scale_2", ("F32",), ((), (1,)), positive=True),
            "input": Part(
                f"{stem}input_scale", ("F32",), ((), (1,)), needed=calibrated, positive=True, remedy=CALIBRATE
            ),
        },
        decode if columns % BLOCK == 0 else None,
        columns,
        floor=FLOORS[4],
    )


def is_matrix(tensor: Tensor | None) -> bool:
    """Return whether a tensor has rows and columns."""
    return tensor is not None and len(tensor.shape) >= 2

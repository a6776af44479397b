"""optimum-quanto's weights: ``_data`` with ``_scale``, and ``_shift`` where they are 4 or 2 bits in groups."""

from __future__ import annotations

from math import prod
from typing import Final

import numpy as np

from pipeline.lint.decoding import as_floats, scaled
from pipeline.lint.formats.protocol import FLOORS, Bytes, Floats, Held, Part, Reading, Weight
from pipeline.lint.formats.rules import FLOAT8, SCALE_FLOATS, by_row, stems, unsaid
from pipeline.lint.subject import Subject

TITLE: Final = "optimum-quanto"
LOADERS: Final = "diffusers up to 0.x with optimum-quanto, which is no longer maintained"
GROUPED: Final = "._data._data"


def claims(subject: Subject) -> bool:
    """Return whether names or configuration are quanto's."""
    return subject.method == "quanto" or any(
        name.endswith((".weight._data", f".weight{GROUPED}")) for name in subject.tensors
    )


def read(subject: Subject) -> Reading:
    """Return its weights."""
    grouped = stems(subject.tensors, GROUPED)
    whole = [name for name in stems(subject.tensors, "._data") if not name.endswith("._data")]
    weights = [groups(subject, name) for name in grouped] + [rows(subject, name) for name in whole]
    scaled = set(stems(subject.tensors, "._scale"))
    faults = unsaid(subject, TITLE)
    faults += [
        subject.fault("tensor-missing", f"{name}._scale", "There is a scale and no `_data` beside it.")
        for name in sorted(scaled - {*grouped, *whole})
    ]
    said = {f"{name.removesuffix('weight')}{end}" for name in scaled for end in ("input_scale", "output_scale")}
    return Reading(TITLE, weights, faults, frozenset(said), LOADERS)


def rows(subject: Subject, name: str) -> Weight:
    """Return a weight of 8 bits with one scale a row."""
    codes = subject.tensors[f"{name}._data"]
    count = codes.shape[0] if codes.shape else 1
    there = subject.tensors.get(f"{name}._scale")
    columns = max(codes.size // count, 1) if count else 1
    kind = "int8" if codes.dtype == "I8" else "float8"
    shapes = ((count, *(1,) * (len(codes.shape) - 1)),) if count > 1 else ((), (1,), (1, 1))
    parts = {
        "codes": Part(codes.name, ("I8", *FLOAT8)),
        "scale": Part(f"{name}._scale", SCALE_FLOATS, shapes, positive=True),
    }
    decode = by_row(codes.dtype, columns, scale_dtype=there.dtype if there else "F32")
    known = codes.dtype in {"I8", *FLOAT8}
    title = f"{kind} per row ({TITLE})"
    return Weight(name, title, codes.shape, codes.name, parts, decode if known else None, columns, floor=FLOORS[8])


def groups(subject: Subject, name: str) -> Weight:
    """Return a weight of 4 or 2 bits in groups, which lie as parts of bytes: first those of the low bits."""
    codes, scale = subject.tensors[f"{name}{GROUPED}"], subject.tensors.get(f"{name}._scale")
    width, count = codes.shape[-1] if codes.shape else 1, prod(scale.shape) if scale else 0
    stored = codes.shape[0] if codes.shape else 0
    bits = 4 if count <= stored * 2 else 2
    parts = {
        "codes": Part(codes.name, ("U8",), ((-(-count * bits // 8), width),)),
        "scale": Part(f"{name}._scale", SCALE_FLOATS, ((count, 1),), positive=True, run=width),
        "zero": Part(f"{name}._shift", SCALE_FLOATS, ((count, 1),)),
    }
    title = f"int{bits} in groups of {width} ({TITLE})"
    along = scale is not None and len(scale.shape) == 2 and scale.shape[1] == 1 and count * bits % 8 == 0
    if not along or scale is None:
        return Weight(name, title, (), codes.name, parts, floor=FLOORS[bits])
    dtype = scale.dtype

    def decode(first: int, packed: Bytes, held: Held) -> Floats:
        group = first // width
        shift = np.uint8(group // stored * bits)
        values = (packed >> shift & np.uint8((1 << bits) - 1)).astype(np.float32)
        part = slice(group, group + values.size // width)
        runs = scaled(values, as_floats(held["scale"].reshape(-1)[part], dtype), width).reshape(-1, width)
        runs -= as_floats(held["zero"].reshape(-1)[part], dtype)[:, None]
        return values

    def span(first: int, last: int) -> tuple[int, int]:
        begin = first // width % stored * width
        return begin, begin + last - first

    half = stored * width  # values whose codes are the same bits of their bytes
    return Weight(name, title, (count * width,), codes.name, parts, decode, width, half, span, FLOORS[bits])

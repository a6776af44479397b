"""torchao's tensor subclasses, flattened: each parameter by an entry of the header that says its type and its parts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np

from pipeline.lint.decoding import as_floats, float8_values, scaled
from pipeline.lint.faults import told
from pipeline.lint.formats.protocol import FLOORS, Bytes, Decode, Floats, Held, Part, Reading, Role, Shapes, Weight
from pipeline.lint.formats.rules import FLOAT8, SCALE_FLOATS, unsaid
from pipeline.lint.subject import Subject
from pipeline.source.strict import parse

TITLE: Final = "torchao"
LOADERS: Final = "torchao 0.16 and later, by diffusers or transformers"
LIST: Final = "tensor_names"
ROLES: Final[Mapping[str, Role]] = {"qdata": "codes", "scale": "scale", "zero_point": "zero"}
KINDS: Final = {"Int8Tensor": ("I8",), "Float8Tensor": FLOAT8}
"""Those that are decoded here, by what their codes are."""


def claims(subject: Subject) -> bool:
    """Return whether names or configuration are torchao's."""
    return subject.method == "torchao" or any(name.endswith("_weight_qdata") for name in subject.tensors)


def read(subject: Subject) -> Reading:
    """Return its weights, as the header lists them."""
    faults, weights = unsaid(subject, TITLE), list[Weight]()
    listed = names_listed(subject.metadata.get(LIST))
    if listed is None:
        text = f"The header has no list `{LIST}`, from which torchao rebuilds parameters."
        return Reading(TITLE, [], [subject.fault("marker-missing", "", text)], loaders=LOADERS)
    owned = set[str]()
    for name in listed:
        entry = entry_of(subject.metadata.get(name))
        if entry is None:
            text = "The header lists it and does not say what it is."
            faults.append(subject.fault("marker-unknown", name, text))
            continue
        if entry["_type"] == "Tensor":
            owned.add(name)
            if name not in subject.tensors and not subject.is_tied(name):
                faults.append(subject.fault("tensor-missing", name, "The header lists it, and it is not there."))
            continue
        weight = weight_of(subject, name, entry)
        weights.append(weight)
        owned |= {part.name for part in weight.parts.values()}
    faults += [
        subject.fault("tensor-unknown", name, "The header does not list it, so nothing reads it.")
        for name in subject.tensors
        if name not in owned
    ]
    return Reading(TITLE, weights, faults, loaders=LOADERS)


def names_listed(text: Any) -> list[str] | None:
    """Return the names that the header lists; None where it lists none."""
    try:
        names = parse(text.encode())
    except (ValueError, AttributeError):
        return None
    return names if isinstance(names, list) and all(isinstance(name, str) for name in names) else None


def entry_of(text: Any) -> dict[str, Any] | None:
    """Return what the header says of a parameter; None where it says nothing that can be read."""
    try:
        entry = parse(text.encode())
    except (ValueError, AttributeError):
        return None
    if not isinstance(entry, dict) or not isinstance(kind := entry.get("_type"), str):
        return None
    names = entry.get("_tensor_data_names")
    lacking = kind in KINDS and isinstance(names, list) and not ("qdata" in names and "scale" in names)
    return None if lacking else entry


def weight_of(subject: Subject, name: str, entry: Mapping[str, Any]) -> Weight:
    """Return the weight of an entry."""
    module, _, leaf = name.rpartition(".")
    stem = f"{module}._{leaf}_" if module else f"_{leaf}_"
    kind, said = str(entry["_type"]), entry.get("_tensor_data_names")
    names = [each for each in said if isinstance(each, str)] if isinstance(said, list) else ["qdata", "scale"]
    codes = subject.tensors.get(f"{stem}qdata")
    shape = codes.shape if codes else ()
    rows, columns = (shape[0], shape[-1]) if shape else (0, 0)
    parts = dict[str, Part]()
    for each in names:
        role = ROLES.get(each, "state")
        dtypes = {"codes": KINDS.get(kind, ()), "scale": SCALE_FLOATS, "zero": ("I8",)}.get(role, ())
        shapes: Shapes = ((rows, 1),) if kind in KINDS and role in {"scale", "zero"} else (None,)
        parts[role if role not in parts else each] = Part(
            f"{stem}{each}", dtypes, shapes, positive=role == "scale" and kind in KINDS
        )
    title = f"{told(kind)} (torchao)"
    if kind not in KINDS or codes is None or len(shape) != 2 or codes.dtype not in KINDS[kind]:
        return Weight(name, title, (), f"{stem}qdata", parts, floor=FLOORS[4])
    there = subject.tensors.get(parts["scale"].name) if "scale" in parts else None
    decode = decoder(codes.dtype, columns, there.dtype if there else "F32")
    return Weight(name, title, shape, codes.name, parts, decode, columns, floor=FLOORS[8])


def decoder(dtype: str, columns: int, scale_dtype: str) -> Decode:
    """Return what decodes rows with a scale and perhaps a zero point."""

    def decode(first: int, packed: Bytes, held: Held) -> Floats:
        values = packed.view(np.int8).astype(np.float32) if dtype == "I8" else float8_values(packed, dtype)
        rows, row = values.reshape(-1, columns), first // columns
        if "zero" in held:
            rows -= held["zero"].reshape(-1)[row : row + len(rows), None].astype(np.float32)
        return scaled(values, as_floats(held["scale"].reshape(-1)[row : row + len(rows)], scale_dtype), columns)

    return decode

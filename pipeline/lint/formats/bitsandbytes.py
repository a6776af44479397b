"""bitsandbytes: 4-bit codes in blocks that share an absmax, perhaps quantized itself, and int8 rows (LLM.int8)."""

from __future__ import annotations

from collections.abc import Mapping
from math import prod
from typing import Any, Final

import numpy as np

from pipeline.lint.decoding import HIGH_FIRST, as_floats, nibbles, scaled
from pipeline.lint.faults import Fault
from pipeline.lint.formats.protocol import FLOORS, Bytes, Floats, Held, Part, Reading, Weight
from pipeline.lint.formats.rules import stems, unsaid
from pipeline.lint.subject import Subject
from pipeline.source.strict import parse

TITLE: Final = "bitsandbytes"
LOADERS: Final = "bitsandbytes 0.43 and later, by diffusers or transformers"
STATE: Final = ".quant_state.bitsandbytes__"
STEPS: Final = np.float32(127)
STATE_LIMIT: Final = 4096  # bytes
BLOCKS: Final = (32, 64, 128, 256, 512, 1024, 2048, 4096)
BROKEN: Final = "Its state is no JSON with `quant_type`, `blocksize` and `shape`."


def claims(subject: Subject) -> bool:
    """Return whether names or configuration are bitsandbytes'."""
    return subject.method == "bitsandbytes" or any(STATE in name or name.endswith(".SCB") for name in subject.tensors)


def read(subject: Subject) -> Reading:
    """Return its weights."""
    weights, faults = list[Weight](), unsaid(subject, TITLE)
    for stem in stems(subject.tensors, ".SCB"):
        if f"{stem}.weight" in subject.tensors:
            weights.append(int8(subject, stem))
        else:
            faults.append(subject.fault("tensor-missing", f"{stem}.SCB", "There is a scale and no weight beside it."))
    states = {name.partition(STATE)[0]: name for name in subject.tensors if STATE in name}
    for name, state in states.items():
        said = state_of(subject, state)
        if isinstance(said, Fault):
            faults.append(said)
        elif name not in subject.tensors:
            faults.append(subject.fault("tensor-missing", state, "There is a state and no weight beside it."))
        else:
            weights.append(blocks(subject, name, state, said))
    stateless = [name for name in stems(subject.tensors, ".absmax") if name not in states]
    text = "There is an absmax and no quant_state, without which nobody knows what the codes mean."
    faults += [subject.fault("marker-missing", f"{name}.absmax", text) for name in stateless]
    if subject.method and not weights and not faults:
        faults.append(subject.fault("index-disagrees", "", "The configuration names bitsandbytes, and no weight is."))
    used = {f"{name}.{part}" for name in stateless for part in ("absmax", "quant_map")}
    return Reading(TITLE, weights, faults, frozenset(used), LOADERS)


def int8(subject: Subject, stem: str) -> Weight:
    """Return a weight of int8 rows, whose scales are their absmax."""
    codes = subject.tensors[f"{stem}.weight"]
    rows = codes.shape[0] if codes.shape else 1
    columns = max(codes.size // rows, 1) if rows else 1

    def decode(first: int, packed: Bytes, held: Held) -> Floats:
        values = packed.view(np.int8).astype(np.float32)
        row = first // columns
        absmax = as_floats(held["scale"].reshape(-1)[row : row + values.size // columns], "F32")
        return scaled(values, absmax / STEPS, columns)

    parts = {
        "codes": Part(codes.name, ("I8",)),
        "scale": Part(f"{stem}.SCB", ("F32",), ((rows,), (rows, 1)), positive=True),
        "state": Part(f"{stem}.weight_format", ("U8",), needed=False),
    }
    return Weight(
        codes.name, f"int8 per row ({TITLE})", codes.shape, codes.name, parts, decode, columns, floor=FLOORS[8]
    )


def state_of(subject: Subject, name: str) -> dict[str, Any] | Fault:
    """Return what a state says, or what is wrong with it."""
    try:
        said = parse(subject.bytes(subject.tensors[name], 0, STATE_LIMIT))
        shape, block = said["shape"], said["blocksize"]
        sizes = [*shape, block, said.get("nested_blocksize", 256)]
        honest = all(type(size) is int and 0 < size < 1 << 40 for size in sizes) and len(shape) > 0 and block in BLOCKS
        honest = honest and isinstance(said.get("nested_offset", 0.0), int | float)
    except (ValueError, KeyError, TypeError, AttributeError):
        honest = False
    if not honest:
        return subject.fault("marker-unknown", name, BROKEN)
    kind = name.partition(STATE)[2]
    if said.get("quant_type") != kind or kind not in {"nf4", "fp4"}:
        text = f"Its state says {said.get('quant_type')!r}, and its name {kind}."
        return subject.fault("index-disagrees", name, text)
    return dict(said)


def blocks(subject: Subject, name: str, state: str, said: Mapping[str, Any]) -> Weight:
    """Return a weight of 4-bit codes."""
    shape, block, nested = tuple(said["shape"]), said["blocksize"], said.get("nested_blocksize", 0)
    count = -(-prod(shape) // block)
    column = (prod(shape) + 1) // (2 * subject.tensors[name].bytes_of(1)), 1  # other dtypes hold the same bytes
    parts = {
        "codes": Part(name, ("U8", "BF16", "F16", "F32"), (column,)),
        "scale": Part(f"{name}.absmax", ("F32",), ((count,),), positive=True, run=block),
        "level": Part(f"{name}.quant_map", ("F32",), ((16,),)),
        "state": Part(state, ("U8",)),
    }
    if nested:
        parts["scale"] = Part(f"{name}.absmax", ("U8",), ((count,),))
        groups = -(-count // nested)
        parts["block scale"] = Part(f"{name}.nested_absmax", ("F32",), ((groups,),), positive=True)
        parts["zero"] = Part(f"{name}.nested_quant_map", ("F32",), ((256,),))
    offset = np.float32(said.get("nested_offset", 0.0))

    def decode(first: int, packed: Bytes, held: Held) -> Floats:
        values = nibbles(packed, tuple(held["level"].tolist()), HIGH_FIRST)
        begin, end = first // block, -(-(first + values.size) // block)
        absmax = held["scale"][begin:end]
        if nested:
            shared = held["block scale"][np.arange(begin, end) // nested]
            absmax = held["zero"][absmax] * shared + offset
        return scaled(values, absmax, block)

    kind = f"{said['quant_type']} in blocks of {block}" + (", absmax quantized" if nested else "")
    odd = prod(shape) % 2 == 1
    return Weight(name, f"{kind} ({TITLE})", shape, name, parts, None if odd else decode, block, floor=FLOORS[4])

"""compressed-tensors, as llm-compressor writes it: integers, float8, nvfp4 and MX, by its configuration.

Each layer belongs to the group of the configuration that names it: by its own name, by a pattern, by its class, in
that order, as the library matches them. A code a byte may have a scale a tensor, a row, a group of a row or a block of
rows and columns. What is said of a layer in another way than is known here is not decoded, and nothing is held against
its shapes.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np

from pipeline.lint.decoding import E2M1, LOW_FIRST, as_floats, float8_levels, float8_values, nibbles, scaled
from pipeline.lint.faults import Fault
from pipeline.lint.formats.protocol import FLOORS, Bytes, Decode, Floats, Held, Part, Reading, Shapes, Weight
from pipeline.lint.formats.rules import BLOCK, FLOAT8, SCALE_FLOATS, stems
from pipeline.lint.subject import Subject, Tensor

TITLE: Final = "compressed-tensors"
LOADERS: Final = "vLLM; transformers with compressed-tensors"
PACKED: Final = ".weight_packed"
SIGNED: Final = tuple(float(level) for level in range(-8, 8))
MX: Final = 32  # values of an MX format that share a power of two
WIDEST: Final = 8  # bits of a code
LONGEST: Final = 200  # characters of a name or a pattern that are compared
REPEATS: Final = re.compile(r"[*+{]")
NESTED: Final = re.compile(r"\)[*+{]")
USED: Final = (
    ".weight_shape",
    ".weight_g_idx",
    ".input_scale",
    ".input_zero_point",
    ".weight_zero_point",
    ".k_scale",
    ".v_scale",
)


@dataclass(frozen=True)
class Group:
    """What the configuration says of some layers, of which a stranger may have written anything.

    Attributes:
        targets: Names, patterns and classes.
        weights: Of their weights.
        inputs: Of their activations.
    """

    targets: tuple[str, ...] = ()
    weights: Mapping[str, Any] = field(default_factory=dict)
    inputs: Mapping[str, Any] = field(default_factory=dict)

    @property
    def bits(self) -> int:
        """Of a code; 0 where nothing is said."""
        return self.number("num_bits", WIDEST)

    @property
    def run(self) -> int:
        """Neighbours in a row that share a scale; 0 where that is the whole row."""
        return self.number("group_size", 1 << 20)

    @property
    def symmetric(self) -> bool:
        """Whether codes need no zero point."""
        return self.weights.get("symmetric", True) is True

    @property
    def strategy(self) -> str:
        """What shares a scale."""
        found = self.weights.get("strategy", "")
        return found if isinstance(found, str) else ""

    @property
    def microscaled(self) -> bool:
        """Whether blocks share a power of two."""
        return self.weights.get("type") == "float" and self.run == MX

    @property
    def block(self) -> tuple[int, int]:
        """Rows and columns that share a scale; zeros where no block does."""
        found = self.weights.get("block_structure")
        if self.strategy == "block" and isinstance(found, list) and len(found) == 2:
            rows, columns = found
            if type(rows) is int and type(columns) is int and min(rows, columns) > 0:
                return rows, columns
        return 0, 0

    def number(self, key: str, most: int) -> int:
        """Return a number that is said of weights; 0 where it is none."""
        found = self.weights.get(key)
        return found if type(found) is int and 0 < found <= most else 0


UNSAID: Final = Group()


@dataclass(frozen=True)
class Groups:
    """All groups of a configuration."""

    said: tuple[Group, ...]

    def of(self, stem: str) -> Group:
        """Return the group of a layer; `UNSAID` where several may be meant."""
        if len(self.said) == 1:
            return self.said[0]
        for names in (exactly, by_pattern, by_class):
            if found := [group for group in self.said if any(names(target, stem) for target in group.targets)]:
                return found[0]
        return UNSAID


def exactly(target: str, stem: str) -> bool:
    """Return whether a target is a layer's name."""
    return target == stem


def by_pattern(target: str, stem: str) -> bool:
    """Return whether a target is a pattern that begins as the name does.

    It is a stranger's: what might take long to match, names nothing.
    """
    pattern = target.removeprefix("re:")
    if pattern == target or max(len(pattern), len(stem)) > LONGEST:
        return False
    if len(REPEATS.findall(pattern)) > 4 or NESTED.search(pattern):
        return False
    try:
        return re.match(pattern, stem) is not None
    except re.error:
        return False


def by_class(target: str, stem: str) -> bool:  # noqa: ARG001  headers do not tell the class of a layer
    """Return whether a target may be the class of a layer."""
    return target.isidentifier()


def groups_of(subject: Subject) -> Groups:
    """Return the groups of a configuration."""
    found = subject.quantization_config.get("config_groups")
    said = [group for group in found.values() if isinstance(group, dict)] if isinstance(found, dict) else []
    groups = []
    for group in said:
        targets = group.get("targets")
        names = tuple(name for name in targets if isinstance(name, str)) if isinstance(targets, list) else ()
        weights, inputs = (
            of if isinstance(of := group.get(key), dict) else {} for key in ("weights", "input_activations")
        )
        groups.append(Group(names, weights, inputs))
    return Groups(tuple(groups))


def claims(subject: Subject) -> bool:
    """Return whether names or configuration are those of compressed-tensors."""
    return subject.method == "compressed-tensors" or any(name.endswith(PACKED) for name in subject.tensors)


def read(subject: Subject) -> Reading:
    """Return its weights."""
    faults, groups = list[Fault](), groups_of(subject)
    if not groups.said:
        text = "The configuration has no `config_groups`, so nothing says how many bits a code has."
        faults.append(subject.fault("marker-missing", "", text))
    weights = [packed(subject, stem, groups.of(stem)) for stem in stems(subject.tensors, PACKED)]
    for stem in stems(subject.tensors, ".weight_scale"):
        if f"{stem}.weight" in subject.tensors:
            weights.append(whole(subject, stem, groups.of(stem)))
        elif f"{stem}{PACKED}" not in subject.tensors:
            text = "There is a scale and no weight beside it."
            faults.append(subject.fault("tensor-missing", f"{stem}.weight_scale", text))
    if groups.said and not weights:
        faults.append(
            subject.fault("index-disagrees", "", f"The configuration names {TITLE}, and no weight has a scale.")
        )
    used = frozenset(name for name in subject.tensors if name.endswith(USED))
    return Reading(TITLE, weights, faults, used, LOADERS, fuses=True)


def packed(subject: Subject, stem: str, group: Group) -> Weight:
    """Return a weight of packed codes: floats where they are bytes, integers where they are words."""
    codes = subject.tensors[f"{stem}{PACKED}"]
    scale = subject.tensors.get(f"{stem}.weight_scale")
    if codes.dtype != "U8":
        return words(subject, stem, group)
    if group.microscaled or (group is UNSAID and scale is not None and scale.dtype == "U8"):
        return microscaled(codes, stem, group.bits or 4)
    return nvfp4(subject, stem, static=group.inputs.get("dynamic") is False)


def words(subject: Subject, stem: str, group: Group) -> Weight:
    """Return a weight of integers, packed into words."""
    codes = subject.tensors[f"{stem}{PACKED}"]
    scale = subject.tensors.get(f"{stem}.weight_scale")
    rows, count = (codes.shape[0], codes.shape[-1]) if len(codes.shape) == 2 else (0, 0)
    bits, run = group.bits or 4, group.run
    columns = count * 32 // bits
    each = -(-columns // run) if run else 1
    shapes: Shapes = ((rows, each), (rows,)) if each == 1 else ((rows, each),)
    parts = {
        "codes": Part(codes.name, ("I32",), ((rows, count),)),
        "scale": Part(f"{stem}.weight_scale", SCALE_FLOATS, shapes if group.bits else (None,), positive=True, run=run),
        "state": Part(f"{stem}.weight_shape", ("I64", "I32"), ((2,),)),
    }
    if not group.symmetric:
        parts["zero"] = Part(f"{stem}.weight_zero_point", ("I32", "I8"))
    title = f"int{bits}{spread(group)} ({TITLE})"
    known = group.bits in {4, 8} and group.symmetric and scale is not None and columns % max(run, 1) == 0
    dtype, shared = scale.dtype if scale else "F32", run or columns

    def decode(first: int, packed: Bytes, held: Held) -> Floats:
        values = nibbles(packed, SIGNED, LOW_FIRST) if bits == 4 else packed.astype(np.float32) - np.float32(128)
        scales = held["scale"].reshape(-1)[first // shared : (first + values.size) // shared]
        return scaled(values, as_floats(scales, dtype), shared)

    unit, floor = max(columns, 1), FLOORS.get(bits, FLOORS[4])
    return Weight(
        f"{stem}.weight", title, (rows, columns), codes.name, parts, decode if known else None, unit, floor=floor
    )


def spread(group: Group) -> str:
    """Return what shares a scale, as it stands behind the kind of a code."""
    rows, columns = group.block
    if rows:
        return f" in blocks of {rows} by {columns}"
    return f" in groups of {group.run}" if group.run else " per row"


def microscaled(codes: Tensor, stem: str, bits: int) -> Weight:
    """Return a weight of MX: small floats of which 32 share a power of two."""
    rows, columns = codes.shape[0] if codes.shape else 0, codes.shape[-1] * 8 // bits if codes.shape else 0
    parts = {
        "codes": Part(codes.name, ("U8",), ((rows, columns * bits // 8),)),
        "block scale": power(f"{stem}.weight_scale", rows, columns),
    }

    def decode(first: int, packed: Bytes, held: Held) -> Floats:
        return by_power(nibbles(packed, tuple(E2M1.tolist()), LOW_FIRST), first, held)

    known = bits == 4 and columns % MX == 0
    title, unit = f"mxfp{bits} ({TITLE})", max(columns, 1)
    floor = FLOORS.get(bits, FLOORS[4])
    return Weight(
        f"{stem}.weight", title, (rows, columns), codes.name, parts, decode if known else None, unit, floor=floor
    )


def power(name: str, rows: int, columns: int) -> Part:
    """Return the powers of two of a weight of MX, whose bytes are exponents."""
    return Part(name, ("U8", "F8_E8M0"), ((rows, -(-columns // MX)),), positive=True, read_as="F8_E8M0")


def by_power(values: Floats, first: int, held: Held) -> Floats:
    """Multiply values of MX with their powers of two, in place."""
    part = held["block scale"].reshape(-1)[first // MX : (first + values.size) // MX]
    return scaled(values, float8_levels("F8_E8M0")[part], MX)


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


def whole(subject: Subject, stem: str, group: Group) -> Weight:
    """Return a weight with a code a byte: float8 or an integer, by what shares a scale."""
    codes, scale = subject.tensors[f"{stem}.weight"], subject.tensors[f"{stem}.weight_scale"]
    rows = codes.shape[0] if codes.shape else 1
    columns = max(codes.size // rows, 1) if rows else 1
    kind = f"int{group.bits or 8}" if codes.dtype == "I8" else "float8"
    parts = {"codes": Part(codes.name, ("I8", *FLOAT8))}
    (tall, wide), run = group.block, group.run
    if group.microscaled:
        parts["block scale"], kind = power(scale.name, rows, columns), "mxfp8"
        tall, wide, said = 1, MX, ""
    elif tall or run:
        tall, wide, said = tall or 1, wide or run, spread(group)
        parts["scale"] = Part(scale.name, SCALE_FLOATS, ((-(-rows // tall), -(-columns // wide)),), positive=True)
    else:
        tall, wide = (1, columns) if scale.size == rows else (max(rows, 1), columns)
        said = f" per {'row' if scale.size == rows else 'tensor'}"
        parts["scale"] = Part(scale.name, SCALE_FLOATS, ((rows, 1), (rows,), (1,), ()), positive=True)
    known = codes.dtype in {"I8", *FLOAT8} and group.symmetric and scale.size == -(-rows // tall) * -(-columns // wide)
    decode = by_block(codes.dtype, columns, (tall, wide), scale.dtype) if known else None
    floor = FLOORS.get(group.bits, FLOORS[8])
    return Weight(codes.name, f"{kind}{said} ({TITLE})", codes.shape, codes.name, parts, decode, columns, floor=floor)


def by_block(dtype: str, columns: int, block: tuple[int, int], scale_dtype: str) -> Decode:
    """Return what decodes whole rows of codes of which blocks share a scale.

    Args:
        dtype: Of the codes.
        columns: Of the weight.
        block: Rows and columns of a block; the last ones may be cut.
        scale_dtype: Of the scales; bytes are powers of two.
    """
    tall, wide = block

    def decode(first: int, codes: Bytes, held: Held) -> Floats:
        values = codes.view(np.int8).astype(np.float32) if dtype == "I8" else float8_values(codes, dtype)
        if "block scale" in held:
            return by_power(values, first, held)
        scales = as_floats(held["scale"].reshape(-1, -(-columns // wide)), scale_dtype)
        rows = np.arange(first // columns, (first + values.size) // columns) // tall
        if wide == columns:
            return scaled(values, scales[rows], columns)
        return (values.reshape(-1, columns) * np.repeat(scales[rows], wide, axis=1)[:, :columns]).reshape(-1)

    return decode

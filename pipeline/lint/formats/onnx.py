"""ONNX: integers as onnxruntime's quantizers write them, in blocks (MatMulNBits), or a scale a tensor or channel."""

from __future__ import annotations

from re import compile as pattern
from typing import Final

import numpy as np

from pipeline.lint.decoding import LOW_FIRST, as_floats, nibbles, scaled
from pipeline.lint.faults import Fault
from pipeline.lint.formats.protocol import FLOORS, Bytes, Floats, Held, Part, Reading, Shapes, Weight
from pipeline.lint.subject import Subject
from pipeline.source.onnx import Node

TITLE: Final = "ONNX"
LOADERS: Final = "onnxruntime and transformers.js"
BLOCKS: Final = "MatMulNBits"
INTEGERS: Final = ("I8", "U8")
FLOATS: Final = ("F32", "F16", "BF16")
LAST: Final = (1, (1 << 64) - 1)  # axes that are the columns of a matrix: the latter is -1 as it lies in a file
QUANTIZED: Final = pattern(r"(_Q\d(G\d+)?|_quantized)$")  # what onnxruntime's quantizers add to the name of a constant
UNSIGNED: Final = tuple(float(level) for level in range(16))


def claims(subject: Subject) -> bool:
    """Return whether a model is a graph."""
    return subject.container == "onnx"


def read(subject: Subject) -> Reading:
    """Return its quantized constants, by the nodes that read them."""
    weights, faults = dict[str, Weight](), list[Fault]()
    readers = {node.inputs[1]: node for node in subject.nodes if node.operator == "MatMul" and len(node.inputs) > 1}
    found: Weight | Fault | None
    for node in subject.nodes:
        if node.operator == BLOCKS and len(node.inputs) > 2:
            found = in_blocks(subject, node)
        elif node.operator == "DequantizeLinear" and len(node.inputs) > 1 and not node.numbers.get("block_size"):
            reader = next((readers[name] for name in node.outputs if name in readers), None)
            along = node.numbers.get("axis", 1) in LAST
            found = linear(subject, node.inputs[0], *node.inputs[1:3], reader=reader, along=along)
        elif node.operator in {"MatMulInteger", "ConvInteger", "DynamicQuantizeMatMul"} and len(node.inputs) > 1:
            name, reader = node.inputs[1], node if "MatMul" in node.operator else None
            found = linear(subject, name, scale_of(name), *node.inputs[3:4], reader=reader, along=bool(reader))
        else:
            continue
        if isinstance(found, Fault):
            faults.append(found)
        elif found:
            weights.setdefault(found.codes, found)
    parts = {part.name for weight in weights.values() for part in weight.parts.values()}
    title = TITLE if weights or faults else f"{TITLE}, not quantized"
    return Reading(title, list(weights.values()), faults, frozenset(subject.tensors.keys() - parts), LOADERS)


def scale_of(name: str) -> str:
    """Return the name of the scale of an integer constant, as onnxruntime's dynamic quantizer calls it."""
    return f"{name.removesuffix('_quantized')}_scale"


def made_of(constant: str, reader: Node | None) -> str:
    """Return what a constant was made of: by its own name, else by that of the node, which tells the module.

    torch's exporters call weights that they turned ``onnx::MatMul_12`` or ``val_12``, and one of them the node
    ``/encoder/layer.0/query/MatMul``.
    """
    before = QUANTIZED.sub("", constant).removesuffix("_transposed")
    module, _, operator = reader.name.strip("/").rpartition("/") if reader else ("", "", "")
    if before.endswith(".weight") or not module or not operator.startswith("MatMul"):
        return before
    return f"{module.replace('/', '.')}.weight"


def linear(
    subject: Subject, name: str, scale: str, zero: str = "", *, reader: Node | None, along: bool
) -> Weight | None:
    """Return a constant of 8 bits with a scale a tensor or channel; None where it is no constant, but an activation.

    Args:
        subject: The model.
        name: Of the constant.
        scale: Of its scale.
        zero: Of its zero point.
        reader: The product that it is a matrix of.
        along: Whether a scale belongs to a column.
    """
    codes, there = subject.tensors.get(name), subject.tensors.get(scale)
    if codes is None or codes.dtype not in INTEGERS or len(codes.shape) < 2:
        return None
    channels: Shapes = ((), (1,), *((length,) for length in dict.fromkeys(codes.shape)))
    parts = {"codes": Part(name, INTEGERS), "scale": Part(scale, FLOATS, channels, positive=True)}
    if zero:
        parts["zero"] = Part(zero, INTEGERS, channels, needed=False)
    whole, columns = there is not None and there.size == 1, codes.shape[-1]
    known = whole or (along and there is not None and there.shape == (columns,) and len(codes.shape) == 2)
    signed, dtype = codes.dtype == "I8", there.dtype if there else "F32"

    def decode(_first: int, packed: Bytes, held: Held) -> Floats:
        values = (packed.view(np.int8) if signed else packed).astype(np.float32).reshape(-1, columns)
        if "zero" in held:
            zeros = held["zero"].reshape(-1)
            values -= (zeros.view(np.int8) if signed else zeros).astype(np.float32)
        values *= as_floats(held["scale"].reshape(-1), dtype)
        return values.reshape(-1)

    return Weight(
        made_of(name, reader),
        f"int8 per {'tensor' if whole else 'channel'} ({TITLE})",
        codes.shape,
        name,
        parts,
        decode if known else None,
        columns,
        floor=FLOORS[8],
        turned=reader is not None,
    )


def in_blocks(subject: Subject, node: Node) -> Weight | Fault:
    """Return a constant in blocks along the columns, of which each has a scale and perhaps a zero point."""
    name, scale = node.inputs[1], node.inputs[2]
    rows, columns, bits, block = (node.numbers.get(key, 0) for key in ("N", "K", "bits", "block_size"))
    codes, there = subject.tensors.get(name), subject.tensors.get(scale)
    if codes is None:
        return subject.fault("tensor-missing", name, "A MatMulNBits reads it, and it is not there.")
    if bits not in {2, 4, 8} or min(rows, columns, block) < 1 or max(rows, columns, block) > 1 << 32:
        text = f"A MatMulNBits of {rows} rows, {columns} columns, {bits} bits and blocks of {block} reads it."
        return subject.fault("weight-wrong", name, text)
    blocks = -(-columns // block)
    parts = {
        "codes": Part(name, ("U8",), ((rows, blocks, block * bits // 8),)),
        "scale": Part(scale, FLOATS, ((rows * blocks,), (rows, blocks)), finite=True, run=block),
    }
    size = -(-blocks * bits // 8)
    zeros = subject.tensors.get(node.inputs[3]) if len(node.inputs) > 3 else None
    if len(node.inputs) > 3 and node.inputs[3]:
        parts["zero"] = Part(node.inputs[3], ("U8", *FLOATS), ((rows * size,), (rows, size), (rows, blocks)))
    dtype, columns = there.dtype if there else "F32", blocks * block

    def codes_of(packed: Bytes) -> Floats:
        return nibbles(packed, UNSIGNED, LOW_FIRST) if bits == 4 else packed.astype(np.float32)

    def decode(first: int, packed: Bytes, held: Held) -> Floats:
        values, row = codes_of(packed), first // columns
        count = values.size // columns
        if "zero" in held:
            points = codes_of(np.ascontiguousarray(held["zero"].reshape(rows, size)[row : row + count]).reshape(-1))
            values.reshape(count, blocks, block)[:] -= points.reshape(count, -1)[:, :blocks, None]
        else:
            values -= np.float32(1 << bits - 1)
        scales = held["scale"].reshape(-1)[row * blocks : (row + count) * blocks]
        return scaled(values, as_floats(scales, dtype), block)

    known = bits > 2 and block % 2 == 0 and (zeros is None or (zeros.dtype == "U8" and zeros.size == rows * size))
    title = f"int{bits} in blocks of {block} ({TITLE})"
    return Weight(
        made_of(name, node),
        title,
        (rows, columns),
        name,
        parts,
        decode if known else None,
        columns,
        floor=FLOORS[bits],
    )

"""ONNX: integers as onnxruntime's quantizers write them, in blocks (MatMulNBits), or a scale a tensor or channel."""

from __future__ import annotations

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
UNSIGNED: Final = tuple(float(level) for level in range(16))


def claims(subject: Subject) -> bool:
    """Return whether a model is a graph."""
    return subject.container == "onnx"


def read(subject: Subject) -> Reading:
    """Return its quantized constants, by the nodes that read them."""
    weights, faults = dict[str, Weight](), list[Fault]()
    found: Weight | Fault | None
    for node in subject.nodes:
        if node.operator == BLOCKS and len(node.inputs) > 2:
            found = in_blocks(subject, node)
        elif node.operator == "DequantizeLinear" and len(node.inputs) > 1 and not node.numbers.get("block_size"):
            found = linear(subject, *node.inputs[:3])
        elif node.operator in {"MatMulInteger", "ConvInteger", "DynamicQuantizeMatMul"} and len(node.inputs) > 1:
            name = node.inputs[1]
            found = linear(subject, name, scale_of(name), *node.inputs[3:4])
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


def linear(subject: Subject, name: str, scale: str, zero: str = "") -> Weight | None:
    """Return a constant of 8 bits with a scale a tensor or channel; None where it is no constant, but an activation."""
    codes, there = subject.tensors.get(name), subject.tensors.get(scale)
    if codes is None or codes.dtype not in INTEGERS or len(codes.shape) < 2:
        return None
    channels: Shapes = ((), (1,), *((length,) for length in dict.fromkeys(codes.shape)))
    parts = {"codes": Part(name, INTEGERS), "scale": Part(scale, FLOATS, channels, positive=True)}
    if zero:
        parts["zero"] = Part(zero, INTEGERS, channels, needed=False)
    whole = there is not None and there.size == 1
    signed, dtype = codes.dtype == "I8", there.dtype if there else "F32"

    def decode(_first: int, packed: Bytes, held: Held) -> Floats:
        values = (packed.view(np.int8) if signed else packed).astype(np.float32)
        if "zero" in held:
            values -= np.float32(held["zero"].reshape(-1)[0])
        return scaled(values, as_floats(held["scale"].reshape(-1), dtype), values.size)

    title = f"int8 per {'tensor' if whole else 'channel'} ({TITLE})"
    return Weight(name, title, codes.shape, name, parts, decode if whole else None, floor=FLOORS[8])


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
    if len(node.inputs) > 3 and node.inputs[3]:
        size = -(-blocks * bits // 8)
        parts["zero"] = Part(node.inputs[3], ("U8", *FLOATS), ((rows * size,), (rows, size), (rows, blocks)))
    dtype = there.dtype if there else "F32"
    middle = np.float32(1 << bits - 1)

    def decode(first: int, packed: Bytes, held: Held) -> Floats:
        values = nibbles(packed, UNSIGNED, LOW_FIRST) if bits == 4 else packed.astype(np.float32)
        values -= middle
        scales = held["scale"].reshape(-1)[first // block : (first + values.size) // block]
        return scaled(values, as_floats(scales, dtype), block)

    known = bits > 2 and "zero" not in parts and block % 2 == 0
    title = f"int{bits} in blocks of {block} ({TITLE})"
    floor = FLOORS[bits]
    return Weight(name, title, (rows, blocks * block), name, parts, decode if known else None, block, floor=floor)

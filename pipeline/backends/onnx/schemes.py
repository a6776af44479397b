"""Quantization of a graph's matrices and tables, by onnxruntime's own functions."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from pipeline.backends.onnx.graphs import LARGEST
from pipeline.backends.onnx.tied import read_from_matrix, tables, written_out
from pipeline.worker.child import WorkerError

BITS: Final = {"q8": 8, "q4": 4}


def quantize(scheme: str, options: Mapping[str, Any], source: Path, to: Path, largest: int = LARGEST) -> None:
    """Quantize one graph.

    Args:
        scheme: A scheme of the backend.
        options: Its options, with the patterns of modules that are left alone.
        source: The graph, as `graphs.write` names its nodes.
        to: The file to write; weights that it cannot hold go into ``<name>_data``.
        largest: Bytes that it can hold.
    """
    import onnx
    from onnxruntime.quantization import quant_utils  # noqa: F401  its import sets the levels of loggers

    logging.getLogger("onnxruntime.quantization").setLevel(logging.ERROR)
    model = written_out(onnx.load(source))
    nodes = [node.name for node in taken(model.graph, options)]
    if not nodes:
        what = f"No matrix of {source.name} is left to be quantized."
        raise WorkerError("recipe", what, "Keep less, or take this component out.")
    model = in_blocks(model, nodes, scheme, options) if scheme in BITS else dynamic(model, source, nodes)
    del model.metadata_props[:]
    size = sum(len(tensor.raw_data) for tensor in model.graph.initializer)
    more = {"save_as_external_data": True, "location": f"{to.name}_data"} if size > largest else {}
    onnx.save(model, to, **more)


def taken(graph: Any, options: Mapping[str, Any]) -> Iterator[Any]:
    """Yield the nodes that are quantized: matrices and, where asked for, tables that are taller than wide."""
    shapes = {tensor.name: tuple(tensor.dims) for tensor in graph.initializer}
    kept = [re.compile(pattern) for pattern in options.get("modules_to_not_convert", ())]
    for node in graph.node:
        shape = shapes.get(weight_of(node), ())
        matrix = node.op_type == "MatMul" and len(shape) == 2
        table = node.op_type == "Gather" and len(shape) == 2 and shape[0] > shape[1] and options["embeddings"]
        if (matrix or table) and not any(pattern.fullmatch(module_of(node)) for pattern in kept):
            yield node


def weight_of(node: Any) -> str:
    """Return the input of a node that may be a weight."""
    place = 0 if node.op_type == "Gather" else 1
    return str(node.input[place]) if len(node.input) > place else ""


def module_of(node: Any) -> str:
    """Return the module after which a node is named."""
    return str(node.name).strip("/").rpartition("/")[0].replace("/", ".")


def dynamic(model: Any, source: Path, nodes: Sequence[str]) -> Any:
    """Quantize weights to 8 bits with a scale for each output, and have activations quantized as they come."""
    import onnx
    from onnxruntime.quantization import quantize_dynamic

    whole, made = (source.with_stem(f"{source.stem}-{kind}") for kind in ("whole", "made"))
    onnx.save(model, whole, save_as_external_data=model.ByteSize() > LARGEST, location=f"{whole.name}_data")
    more = {"MatMulConstBOnly": True, "EnableSubgraph": True}
    quantize_dynamic(whole, made, nodes_to_quantize=list(nodes), per_channel=True, extra_options=more)
    return onnx.load(made)


def in_blocks(model: Any, nodes: Sequence[str], scheme: str, options: Mapping[str, Any]) -> Any:
    """Quantize weights in blocks of one output, with a scale and perhaps a zero point for each."""
    from onnxruntime.quantization.matmul_nbits_quantizer import DefaultWeightOnlyQuantConfig, MatMulNBitsQuantizer

    bits, kinds = BITS[scheme], ("MatMul", "Gather")
    tied = [node.name for node in tables(model.graph) if node.name in {*nodes}]
    others = [node.name for node in model.graph.node if node.op_type in kinds and node.name not in {*nodes}] + tied
    how = DefaultWeightOnlyQuantConfig(
        block_size=options["block_size"],
        is_symmetric=options["symmetric"],
        accuracy_level=options["accuracy_level"],
        bits=bits,
        op_types_to_quantize=kinds if bits == 4 else ("MatMul",),
    )
    quantizer = MatMulNBitsQuantizer(model, nodes_to_exclude=others, algo_config=how)
    quantizer.process()
    made = quantizer.model.model
    for node in [node for node in made.graph.node if node.name in tied]:
        read_from_matrix(made.graph, node)
    if bits == 8:  # its quantizer knows tables of 4 bits only
        for node in [node for node in made.graph.node if node.op_type == "Gather" and node.name in {*nodes} - {*tied}]:
            table_in_blocks(made.graph, node, options)
    return made


def table_in_blocks(graph: Any, node: Any, options: Mapping[str, Any]) -> None:
    """Quantize a table of embeddings to 8 bits in blocks of one row, as ``GatherBlockQuantized`` reads it.

    https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md#com.microsoft.GatherBlockQuantized
    """
    import numpy as np
    import onnx

    size = options["block_size"]
    tensor = next(one for one in graph.initializer if one.name == node.input[0])
    table = onnx.numpy_helper.to_array(tensor)
    rows, columns = table.shape
    blocks = np.pad(table, ((0, 0), (0, -columns % size))).reshape(rows, -1, size)
    least, most = np.minimum(blocks.min(2), 0), np.maximum(blocks.max(2), 0)
    if options["symmetric"]:
        scales, zeros = np.maximum(most, -least) / 127, np.full(least.shape, 128, np.uint8)
    else:
        scales = (most - least) / 255
        zeros = np.rint(-least / np.where(scales, scales, 1)).astype(np.uint8)
    scales = np.where(scales, scales, 1).astype(table.dtype)
    codes = np.rint(blocks / scales[..., None]) + zeros[..., None]
    codes = np.clip(codes, 0, 255).astype(np.uint8).reshape(rows, -1)[:, :columns]
    parts = {f"{tensor.name}_Q8": codes, f"{tensor.name}_scales": scales, f"{tensor.name}_zero_points": zeros}
    graph.initializer.remove(tensor)
    graph.initializer.extend(
        onnx.numpy_helper.from_array(np.ascontiguousarray(part), name) for name, part in parts.items()
    )
    (codes_name, scales_name, zeros_name), (_, index) = parts, node.input
    found = onnx.helper.make_node(
        "GatherBlockQuantized",
        [codes_name, index, scales_name, zeros_name],
        list(node.output),
        f"{node.name}_Q8",
        domain="com.microsoft",
        bits=8,
        block_size=size,
        gather_axis=0,
        quantize_axis=1,
    )
    node.CopyFrom(found)

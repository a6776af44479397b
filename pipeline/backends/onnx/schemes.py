"""Quantization of a graph's matrices and tables, by onnxruntime's own functions."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from pipeline.backends.onnx import tables
from pipeline.backends.onnx.graphs import LARGEST
from pipeline.backends.onnx.halves import in_halves

BITS: Final = {"q8": 8, "q4": 4}
TABLE_BLOCK: Final = 128  # values of a row: widths are multiples of it, and none is filled up


def quantize(
    scheme: str,
    options: Mapping[str, Any],
    source: Path,
    to: Path,
    *,
    ranges: Mapping[str, tuple[float, float]] = {},
    largest: int = LARGEST,
) -> bool:
    """Quantize one graph, and return whether a matrix or a table of it was; it is written as it is where none is left.

    Args:
        scheme: A scheme of the backend.
        options: Its options, with the patterns of modules that are left alone.
        source: The graph, as `graphs.write` names its nodes.
        to: The file to write; weights that it cannot hold go into ``<name>_data``.
        ranges: Of what matrices are given, by the name of the tensor, where the scheme is calibrated.
        largest: Bytes that it can hold.
    """
    import onnx
    from onnxruntime.quantization import quant_utils  # noqa: F401  its import sets the levels of loggers

    logging.getLogger("onnxruntime.quantization").setLevel(logging.ERROR)
    model = tables.written_out(onnx.load(source))
    nodes = [node.name for node in taken(model.graph, options)]
    if not nodes:
        model = onnx.load(source)
    elif scheme == "fp16":
        in_halves(model.graph, nodes)
    else:
        tied = {node.name for node in tables.tied(model.graph)}
        if scheme in BITS:
            model = in_blocks(model, nodes, scheme, options)
        else:
            matrices = [node.name for node in model.graph.node if node.op_type == "MatMul" and node.name in nodes]
            model = static(model, matrices, ranges) if ranges else model
            model = dynamic(model, source, matrices) if matrices else model  # of none it quantizes all
        read_tables(model.graph, nodes, tied, of_tables(scheme, options))
    del model.metadata_props[:]
    size = sum(len(tensor.raw_data) for tensor in model.graph.initializer)
    more = {"save_as_external_data": True, "location": f"{to.name}_data"} if size > largest else {}
    onnx.save(model, to, **more)
    return bool(nodes)


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


def given_to_matrices(source: Path, options: Mapping[str, Any]) -> list[str]:
    """Return the tensors that the matrices which are quantized are given, each once."""
    import onnx

    graph = tables.written_out(onnx.load(source)).graph
    return list(dict.fromkeys(node.input[0] for node in taken(graph, options) if node.op_type == "MatMul"))


def static(model: Any, nodes: Sequence[str], ranges: Mapping[str, tuple[float, float]]) -> Any:
    """Quantize matrices to 7 bits with a scale for each output, and what they are given with the scale of its range.

    What they answer stays as it is: quantized too, it would add more noise than all the rest.
    """
    import numpy as np
    from onnxruntime.quantization import CalibrationMethod, QDQQuantizer, QuantType
    from onnxruntime.quantization.calibrate import TensorsData
    from onnxruntime.quantization.quant_utils import save_and_reload_model_with_shape_infer

    ends = {name: tuple(np.array(end, np.float32) for end in ends) for name, ends in ranges.items()}
    quantizer = QDQQuantizer(
        save_and_reload_model_with_shape_infer(model),
        per_channel=True,
        reduce_range=True,
        weight_qType=QuantType.QInt8,
        activation_qType=QuantType.QUInt8,
        tensors_range=TensorsData(CalibrationMethod.MinMax, ends),
        nodes_to_quantize=[*nodes],
        nodes_to_exclude=[],
        op_types_to_quantize=["MatMul"],
        extra_options={"MatMulConstBOnly": True, "OpTypesToExcludeOutputQuantization": ["MatMul"]},
    )
    quantizer.quantize_model()
    return quantizer.model.model


def dynamic(model: Any, source: Path, nodes: Sequence[str]) -> Any:
    """Quantize weights to 7 bits of a byte with a scale for each output, and have activations quantized as they come.

    Processors without VNNI add products of two bytes pairwise in 16 bits, which codes of 8 bits overflow: the same
    graph would answer worse there. onnxruntime's functions call this the reduced range.
    """
    import onnx
    from onnxruntime.quantization import quantize_dynamic

    whole, made = (source.with_stem(f"{source.stem}-{kind}") for kind in ("whole", "made"))
    onnx.save(model, whole, save_as_external_data=model.ByteSize() > LARGEST, location=f"{whole.name}_data")
    how = {"per_channel": True, "reduce_range": True}
    more = {"MatMulConstBOnly": True, "EnableSubgraph": True}
    quantize_dynamic(whole, made, nodes_to_quantize=list(nodes), **how, extra_options=more)
    return onnx.load(made)


def in_blocks(model: Any, nodes: Sequence[str], scheme: str, options: Mapping[str, Any]) -> Any:
    """Quantize matrices in blocks of one output, with a scale and perhaps a zero point for each."""
    from onnxruntime.quantization.matmul_nbits_quantizer import MatMulNBitsQuantizer

    turned = [node.name for node in model.graph.node if node.op_type == "MatMul" and tables.TURNED in node.input[1]]
    of_weights, of_vocabulary = blocks(BITS[scheme], options), of_tables(scheme, options)
    for config in {one.bits: one for one in (of_vocabulary, of_weights)}.values():
        wanted = [name for name in nodes if config.bits == (of_vocabulary if name in turned else of_weights).bits]
        others = [node.name for node in model.graph.node if node.op_type == "MatMul" and node.name not in wanted]
        quantizer = MatMulNBitsQuantizer(model, nodes_to_exclude=others, algo_config=config)
        quantizer.process()
        model = quantizer.model.model
    return model


def blocks(bits: int, options: Mapping[str, Any]) -> Any:
    """Return how onnxruntime quantizes what lies in blocks of codes of some bits."""
    from onnxruntime.quantization.matmul_nbits_quantizer import DefaultWeightOnlyQuantConfig

    size, symmetric, level = options["block_size"], options["symmetric"], options["accuracy_level"]
    return DefaultWeightOnlyQuantConfig(block_size=size, is_symmetric=symmetric, accuracy_level=level, bits=bits)


def of_tables(scheme: str, options: Mapping[str, Any]) -> Any:
    """Return how tables are quantized; where matrices have a scale an output, in large blocks."""
    if scheme in BITS:
        return blocks(options.get("embedding_bits", BITS[scheme]), options)
    return blocks(8, {"block_size": TABLE_BLOCK, "symmetric": True, "accuracy_level": 0})


def read_tables(graph: Any, nodes: Sequence[str], tied: set[str], how: Any) -> None:
    """Quantize tables, those that are tied to a matrix by reading the matrix."""
    from onnxruntime.quantization.matmul_nbits_quantizer import DefaultWeightOnlyQuantizer

    for node in [node for node in graph.node if node.op_type == "Gather" and node.name in nodes]:
        if node.name in tied:
            tables.from_matrix(graph, node)
        else:
            tables.in_blocks(graph, node, DefaultWeightOnlyQuantizer(how), how.bits)

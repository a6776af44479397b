"""Matrices and tables in float16, which take half the bytes and are multiplied so where a device can.

Between them everything stays in float32, and so do the graph's inputs and outputs: a norm squares its values and a
softmax sums exponentials, which are soon beyond what float16 holds, and a page that feeds the graph of float32 feeds
this one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

from pipeline.backends.onnx import tables
from pipeline.worker.child import WorkerError

GREATEST: Final = 65504.0  # of float16


def in_halves(graph: Any, nodes: Sequence[str]) -> None:
    """Turn the weights of some nodes to float16, and what goes in and comes out of them from and to float32.

    Args:
        graph: The graph, which is changed; its tied matrices are written out.
        nodes: The names of its ``MatMul`` and ``Gather`` nodes that are turned.

    Raises:
        WorkerError: A weight is beyond what float16 holds.
    """
    import onnx

    wanted = {*nodes}
    tied = [node for node in tables.tied(graph) if {node.name, *_turned_readers(graph, node)} <= wanted]
    floats = onnx.TensorProto.FLOAT  # a table may be read at places that are constants
    weights = {tensor.name: tensor for tensor in graph.initializer if tensor.data_type == floats}
    halved = {name for node in graph.node if node.name in wanted for name in node.input if name in weights}
    for name in halved:
        weights[name].CopyFrom(_half(weights[name]))
    for node in tied:
        tables.turned_again(graph, node)
    casts: dict[str, str] = {}
    rewired: list[Any] = []
    for node in graph.node:
        rewired.extend((_in_float16 if node.name in wanted else _in_float32)(node, halved, casts))
    del graph.node[:]
    graph.node.extend(rewired)


def _turned_readers(graph: Any, table: Any) -> set[str]:
    """Return the nodes that read the matrix which is a table's transpose."""
    return {node.name for node in graph.node if f"{table.input[0]}{tables.TURNED}" in node.input}


def _half(tensor: Any) -> Any:
    """Return a weight in float16.

    Raises:
        WorkerError: It is beyond what float16 holds.
    """
    import numpy as np
    import onnx

    values = onnx.numpy_helper.to_array(tensor)
    greatest = float(np.abs(values).max(initial=0))
    if not greatest <= GREATEST:
        what = f"{tensor.name} holds {greatest:g}, and float16 nothing beyond {GREATEST:g}."
        raise WorkerError("recipe", what, "Keep its module (`keep:`), or choose q8, whose scales hold it.")
    return onnx.numpy_helper.from_array(values.astype(np.float16), tensor.name)


def _in_float16(node: Any, halved: set[str], casts: dict[str, str]) -> Iterator[Any]:
    """Yield a node that works in float16 with what turns a matrix's values before it, and its answer after it."""
    import onnx

    if node.op_type == "MatMul":
        yield from _cast(node, [name for name in node.input if name not in halved], onnx.TensorProto.FLOAT16, casts)
    (answer,) = node.output
    node.output[:] = [f"{answer}_before_Cast"]
    yield node
    yield onnx.helper.make_node("Cast", [*node.output], [answer], f"{node.name}_Cast", to=onnx.TensorProto.FLOAT)


def _in_float32(node: Any, halved: set[str], casts: dict[str, str]) -> Iterator[Any]:
    """Yield a node that works in float32 with what turns weights before it."""
    import onnx

    if node.output[0] not in halved:  # a matrix that is turned from its table
        yield from _cast(node, [name for name in node.input if name in halved], onnx.TensorProto.FLOAT, casts)
    yield node


def _cast(node: Any, names: Sequence[str], to: int, casts: dict[str, str]) -> Iterator[Any]:
    """Have a node read some values in another type, and yield what turns those that are not turned yet."""
    import onnx

    for name in names:
        if name not in casts:
            casts[name] = f"{name}_float{16 if to == onnx.TensorProto.FLOAT16 else 32}"
            yield onnx.helper.make_node("Cast", [name], [casts[name]], f"{casts[name]}_Cast", to=to)
    node.input[:] = [casts[name] if name in names else name for name in node.input]

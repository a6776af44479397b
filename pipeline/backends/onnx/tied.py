"""Tables of tokens that serve for logits as well: such a weight lies in a graph once, and is turned for its matrix.

Quantizers look for matrices that are weights as they stand, so that before them the turned one is written out. In
blocks a matrix lies by its outputs, which are the rows of the table: afterwards the table is read from the matrix.
"""

from __future__ import annotations

from typing import Any, Final

TURNED: Final = "_transposed"
MICROSOFT: Final = "com.microsoft"


def written_out(model: Any) -> Any:
    """Return a model in which a matrix that is the transpose of a table is a weight of its own."""
    import numpy as np
    import onnx

    graph = model.graph
    tensors = {tensor.name: tensor for tensor in graph.initializer}
    for node in [node for node in graph.node if node.op_type == "Transpose" and node.input[0] in tensors]:
        name = f"{node.input[0]}{TURNED}"
        values = np.ascontiguousarray(onnx.numpy_helper.to_array(tensors[node.input[0]]).T)
        graph.initializer.append(onnx.numpy_helper.from_array(values, name))
        graph.node.remove(node)
        for reader in graph.node:
            reader.input[:] = [name if given == node.output[0] else given for given in reader.input]
    return model


def tables(graph: Any) -> list[Any]:
    """Return the nodes that read a table of which a matrix is written out."""
    names = {tensor.name for tensor in graph.initializer}
    return [node for node in graph.node if node.op_type == "Gather" and f"{node.input[0]}{TURNED}" in names]


def read_from_matrix(graph: Any, table: Any) -> None:
    """Have a node read its table from the blocks of the matrix that is its transpose.

    Both operators keep codes, scales and zero points by rows, in the same order, under other shapes:
    https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md

    Args:
        graph: The graph after ``MatMulNBits`` took the place of the matrix.
        table: A node of `tables`; it stays as it is where blocks go beyond the end of a row.
    """
    import onnx

    matrix = next((node for node in graph.node if _is_of(node, table.input[0])), None)
    known = {one.name: one.i for one in matrix.attribute} if matrix else {"K": 1, "block_size": 2}
    if matrix is None or known["K"] % known["block_size"]:
        return
    parts = [_by_rows(graph, name, known["N"]) for name in matrix.input[1:4] if name]
    attributes: dict[str, Any] = {
        "bits": known["bits"],
        "block_size": known["block_size"],
        "gather_axis": 0,
        "quantize_axis": 1,
    }
    inputs = [parts[0], table.input[1], *parts[1:]]
    made = onnx.helper.make_node(
        "GatherBlockQuantized", inputs, list(table.output), table.name, domain=MICROSOFT, **attributes
    )
    name = table.input[0]
    table.CopyFrom(made)
    if not any(name in node.input for node in graph.node):
        graph.initializer.remove(next(tensor for tensor in graph.initializer if tensor.name == name))


def _is_of(node: Any, table: str) -> bool:
    """Return whether a node is the matrix that is a table's transpose."""
    return bool(node.op_type == "MatMulNBits" and node.input[1].startswith(f"{table}{TURNED}"))


def _by_rows(graph: Any, name: str, rows: int) -> str:
    """Add a reading of a weight with its rows as the first of two dimensions, and return its name."""
    import numpy as np
    import onnx

    shape = onnx.numpy_helper.from_array(np.array([rows, -1], np.int64), f"{name}_by_rows")
    graph.initializer.append(shape)
    graph.node.insert(0, onnx.helper.make_node("Reshape", [name, shape.name], [f"{name}_rows"], f"{name}_reshape"))
    return f"{name}_rows"

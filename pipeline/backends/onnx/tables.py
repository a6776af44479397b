"""Tables of tokens in blocks of their rows, read by operators that every runtime has.

onnxruntime's own operator for them, ``GatherBlockQuantized``, is in no WebAssembly that transformers.js loads.

A table that serves for logits as well lies in a graph once, and is turned for its matrix. Quantizers look for matrices
that are weights as they stand, so that before them the turned one is written out. In blocks a matrix lies by its
outputs, which are the rows of the table: afterwards the table is read from the matrix.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

TURNED: Final = "_transposed"


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


def tied(graph: Any) -> list[Any]:
    """Return the nodes that read a table of which a matrix is written out."""
    names = {tensor.name for tensor in graph.initializer}
    return [node for node in graph.node if node.op_type == "Gather" and f"{node.input[0]}{TURNED}" in names]


def turned_again(graph: Any, table: Any) -> None:
    """Have the matrix that is the transpose of a table be turned from it at run time, so that the weight lies once."""
    import onnx

    name = f"{table.input[0]}{TURNED}"
    graph.initializer.remove(next(tensor for tensor in graph.initializer if tensor.name == name))
    graph.node.insert(0, onnx.helper.make_node("Transpose", [table.input[0]], [name], f"{name}/Transpose", perm=[1, 0]))


def from_matrix(graph: Any, table: Any) -> None:
    """Have a node read its table from the blocks of the matrix that is its transpose.

    Args:
        graph: The graph after ``MatMulNBits`` took the place of the matrix.
        table: A node of `tied`; it stays as it is where its matrix does.
    """
    matrix = next((node for node in graph.node if _is_of(node, table.input[0])), None)
    if matrix is None:
        return
    known = {one.name: one.i for one in matrix.attribute}
    in_rows(graph, table, matrix.input[1:4], known["bits"], known["K"])


def in_blocks(graph: Any, table: Any, quantizer: Any, bits: int) -> None:
    """Quantize the table that a node reads as a matrix that is its transpose.

    Args:
        graph: The graph.
        table: A ``Gather`` of a weight of two dimensions.
        quantizer: onnxruntime's own, of ``MatMulNBits``.
        bits: Of a code.
    """
    import numpy as np
    import onnx

    weight = next(one for one in graph.initializer if one.name == table.input[0])
    values = onnx.numpy_helper.to_array(weight)
    codes, scales, zeros = quantizer.qbits_block_quant(np.ascontiguousarray(values.T))  # which reads memory as it lies
    rows = len(values)
    parts = {"codes": codes, "scales": scales.reshape(rows, -1)}
    if not quantizer.config.is_symmetric:
        parts["zero_points"] = zeros.reshape(rows, -1)
    names = {name: f"{weight.name}_{name}" for name in parts}
    graph.initializer.extend(onnx.numpy_helper.from_array(part, names[name]) for name, part in parts.items())
    in_rows(graph, table, list(names.values()), bits, values.shape[1])


def in_rows(graph: Any, table: Any, parts: Sequence[str], bits: int, width: int) -> None:
    """Have nodes read rows of codes, scales and zero points in place of one that reads rows of a table.

    Codes of 4 bits lie two in a byte, the lower half first
    (https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md#com.microsoft.MatMulNBits). They are
    taken apart as float32, in which all of this is exact and every runtime computes.

    Args:
        graph: The graph, to whose weights those belong that `parts` name.
        table: The node; what it read is removed where nothing else reads it.
        parts: Names of codes, of shape (rows, blocks, bytes), and of scales, of shape (rows, blocks); perhaps of zero
            points, of shape (rows, bytes).
        bits: Of a code.
        width: Of a row of the table.
    """
    import numpy as np
    import onnx

    named, (weight, ids) = f"{table.name}/", table.input
    nodes: list[Any] = []
    constants: list[Any] = []

    def hold(value: Any) -> str:
        constants.append(onnx.numpy_helper.from_array(np.array(value), f"{named}constant_{len(constants)}"))
        return str(constants[-1].name)

    def make(operator: str, *inputs: str, **attributes: Any) -> str:
        name = f"{named}{operator}_{len(nodes)}"
        nodes.append(onnx.helper.make_node(operator, inputs, [name], name, **attributes))
        return name

    def read(part: str, *shape: int) -> str:
        found = make("Cast", make("Gather", part, place), to=onnx.TensorProto.FLOAT)
        if bits == 4:
            upper = make("Floor", make("Mul", found, hold(np.float32(1 / 16))))
            lower = make("Sub", found, make("Mul", upper, hold(np.float32(16))))
            last = hold([-1])
            found = make("Concat", make("Unsqueeze", lower, last), make("Unsqueeze", upper, last), axis=-1)
        return make("Reshape", found, hold([0, *shape]))

    def cut(values: str, columns: int) -> str:
        return make("Slice", values, hold([0]), hold([columns]), hold([1]))

    sizes = {one.name: tuple(one.dims) for one in graph.initializer}
    blocks = sizes[parts[1]][1]
    place = make("Reshape", ids, hold([-1]))
    codes = read(parts[0], blocks, -1)
    if len(parts) > 2:
        zeros = make("Unsqueeze", cut(read(parts[2], -1), blocks), hold([2]))
    else:
        zeros = hold(np.float32(1 << bits - 1))
    scales = make("Unsqueeze", make("Gather", parts[1], place), hold([2]))
    values = make("Reshape", make("Mul", make("Sub", codes, zeros), scales), hold([0, -1]))
    shape = make("Concat", make("Shape", ids), hold([width]), axis=0)
    last = onnx.helper.make_node("Reshape", [cut(values, width), shape], list(table.output), f"{named}Reshape")
    graph.initializer.extend(constants)
    at = list(graph.node).index(table)
    graph.node.remove(table)
    for node in (last, *reversed(nodes)):
        graph.node.insert(at, node)
    if not any(weight in node.input for node in graph.node):
        graph.initializer.remove(next(tensor for tensor in graph.initializer if tensor.name == weight))


def _is_of(node: Any, table: str) -> bool:
    """Return whether a node is the matrix that is a table's transpose."""
    return bool(node.op_type == "MatMulNBits" and node.input[1].startswith(f"{table}{TURNED}"))

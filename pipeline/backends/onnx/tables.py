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
    """Have a node read its table from the codes of the matrix that is its transpose.

    Args:
        graph: The graph after ``MatMulNBits`` took the place of the matrix, or its weight became integers.
        table: A node of `tied`; it stays as it is where its matrix does.
    """
    codes = f"{table.input[0]}{TURNED}_quantized"
    if any(tensor.name == codes for tensor in graph.initializer):
        in_columns(graph, table, codes, f"{table.input[0]}{TURNED}_scale")
    elif matrix := next((node for node in graph.node if _is_of(node, table.input[0])), None):
        known = {one.name: one.i for one in matrix.attribute}
        in_rows(graph, table, matrix.input[1:4], known["bits"], known["K"])
    else:
        turned_again(graph, table)


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


def in_columns(graph: Any, table: Any, codes: str, scales: str) -> None:
    """Have nodes read columns of codes with their scales in place of one that reads rows of a table.

    Args:
        graph: The graph.
        table: The node; what it read is removed where nothing else reads it.
        codes: Name of the codes around zero, of shape (width, rows).
        scales: Name of the scales, of shape (rows,).
    """
    import onnx

    width = next(tensor.dims[0] for tensor in graph.initializer if tensor.name == codes)
    read = Reading(graph, table)
    found = read.make("Transpose", read.make("Gather", codes, read.place, axis=1), perm=[1, 0])
    scale = read.make("Unsqueeze", read.make("Gather", scales, read.place), read.hold([1]))
    read.become(read.make("Mul", read.make("Cast", found, to=onnx.TensorProto.FLOAT), scale), width)


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

    read = Reading(graph, table)

    def rows(part: str, *shape: int) -> str:
        found = read.make("Cast", read.make("Gather", part, read.place), to=onnx.TensorProto.FLOAT)
        if bits == 4:
            upper = read.make("Floor", read.make("Mul", found, read.hold(np.float32(1 / 16))))
            lower = read.make("Sub", found, read.make("Mul", upper, read.hold(np.float32(16))))
            last = read.hold([-1])
            halves = (read.make("Unsqueeze", half, last) for half in (lower, upper))
            found = read.make("Concat", *halves, axis=-1)
        return read.make("Reshape", found, read.hold([0, *shape]))

    sizes = {one.name: tuple(one.dims) for one in graph.initializer}
    blocks = sizes[parts[1]][1]
    codes = rows(parts[0], blocks, -1)
    if len(parts) > 2:
        zeros = read.make("Unsqueeze", read.cut(rows(parts[2], -1), blocks), read.hold([2]))
    else:
        zeros = read.hold(np.float32(1 << bits - 1))
    scales = read.make("Unsqueeze", read.make("Gather", parts[1], read.place), read.hold([2]))
    values = read.make("Reshape", read.make("Mul", read.make("Sub", codes, zeros), scales), read.hold([0, -1]))
    read.become(read.cut(values, width), width)


class Reading:
    """Nodes on their way into the place of one that reads rows of a table."""

    def __init__(self, graph: Any, table: Any) -> None:
        self._graph, self._table = graph, table
        self._nodes: list[Any] = []
        self._constants: list[Any] = []
        self.place = self.make("Reshape", table.input[1], self.hold([-1]))

    def hold(self, value: Any) -> str:
        """Return the name of a constant."""
        import numpy as np
        import onnx

        name = f"{self._table.name}/constant_{len(self._constants)}"
        self._constants.append(onnx.numpy_helper.from_array(np.array(value), name))
        return name

    def make(self, operator: str, *inputs: str, **attributes: Any) -> str:
        """Add a node, and return the name of what it answers."""
        import onnx

        name = f"{self._table.name}/{operator}_{len(self._nodes)}"
        self._nodes.append(onnx.helper.make_node(operator, inputs, [name], name, **attributes))
        return name

    def cut(self, values: str, columns: int) -> str:
        """Return the first columns of rows."""
        return self.make("Slice", values, self.hold([0]), self.hold([columns]), self.hold([1]))

    def become(self, rows: str, width: int) -> None:
        """Put the nodes into the place of the table's, whose answer is these rows."""
        import onnx

        weight, ids = self._table.input
        shape = self.make("Concat", self.make("Shape", ids), self.hold([width]), axis=0)
        answer = list(self._table.output)
        self._nodes.append(onnx.helper.make_node("Reshape", [rows, shape], answer, f"{self._table.name}/Reshape"))
        self._graph.initializer.extend(self._constants)
        at = list(self._graph.node).index(self._table)
        self._graph.node.remove(self._table)
        for node in reversed(self._nodes):
            self._graph.node.insert(at, node)
        if not any(weight in node.input for node in self._graph.node):
            self._graph.initializer.remove(next(one for one in self._graph.initializer if one.name == weight))


def _is_of(node: Any, table: str) -> bool:
    """Return whether a node is the matrix that is a table's transpose."""
    return bool(node.op_type == "MatMulNBits" and node.input[1].startswith(f"{table}{TURNED}"))

"""A folder of graphs opened as an object that is called as the class of transformers is, by onnxruntime on the CPU.

The object is of that class, built on the meta device, so that the library's own code around ``forward`` stays what it
is. Of its modules those become real that the graph tells by name: a Linear answers by its own nodes of the graph, a
norm or a bias has the graph's values. What the graph does not tell by name stays on the meta device.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from contextvars import ContextVar
from functools import cached_property, wraps
from inspect import signature
from pathlib import Path
from typing import Any, Final

import torch

from pipeline.backends.onnx import FORM
from pipeline.backends.onnx.kinds import chosen, kind_of

NAMED: Final = re.compile(r"/(?P<module>.+)/(?:MatMul|Gemm)(?:_.*)?")
GENERATION: Final = "generation_config.json"
BETWEEN: Final = frozenset({"DynamicQuantizeLinear", "Cast"})  # by which a matrix answers beside its own nodes


def opened(kind: Any, folder: Path) -> Any:
    """Return a model of transformers that answers by the graphs in a folder.

    Args:
        kind: The class that a user of the source calls ``from_pretrained`` of.
        folder: Its config, and graphs in ``onnx/``.
    """
    from transformers import AutoConfig, GenerationConfig

    config = AutoConfig.from_pretrained(folder)
    with torch.device("meta"):
        model = (kind.from_config if hasattr(kind, "from_config") else kind._from_config)(config).eval()
    if model.can_generate() and (folder / GENERATION).is_file():
        model.generation_config = GenerationConfig.from_pretrained(folder)
    found = kind_of(model)
    graphs = [path for path in map(folder.joinpath, FORM.weights_in(folder)) if path.suffix == ".onnx"]
    files = chosen(found.NAMES, graphs)
    sessions = {name: OPENS.get()(path) for name, path in files.items()}
    for name, answer in found.answers(model, sessions).items():
        answering(model.get_submodule(name), answer)
    for path in files.values():
        fill(model, path)
    return model


def session_of(graph: Path | bytes) -> Any:
    """Return onnxruntime's session of a graph on the CPU, with as many threads as torch has."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 3
    place = str(graph) if isinstance(graph, Path) else graph
    return onnxruntime.InferenceSession(place, options, providers=["CPUExecutionProvider"])


OPENS: Final[ContextVar[Callable[[Path], Any]]] = ContextVar("what opens a model's graphs", default=session_of)


def answering(module: Any, answer: Callable[..., Any]) -> None:
    """Have a function answer in place of a module's ``forward``, as if the module lay on the CPU in float32."""
    known = type(module)

    class Answering(known):  # type: ignore[misc, valid-type]
        """The module's class, whose ``forward`` is the graph's."""

        device = property(lambda _: torch.device("cpu"))
        dtype = property(lambda _: torch.float32)

        @wraps(known.forward)  # `generate` looks at what it takes
        def forward(self, *given: Any, **named: Any) -> Any:
            return answer(**dict(zip(signature(known.forward.__get__(self)).parameters, given, strict=False)), **named)

    Answering.__name__ = known.__name__  # a report compares it with the source's
    module.__class__ = Answering


def fill(model: Any, path: Path) -> None:
    """Give a model on the meta device what a graph tells by its modules' names."""
    import onnx

    graph = onnx.load(path).graph
    tensors = {tensor.name: tensor for tensor in graph.initializer}
    before = prefix(model, tensors)
    for name, tensor in tensors.items():
        module, _, leaf = name.removeprefix(before).rpartition(".")
        if place := owner(model, module, leaf, tuple(tensor.dims)):
            values = torch.from_numpy(onnx.numpy_helper.to_array(tensor).copy())
            put(place, leaf, values)
    for name, nodes in matrices(graph).items():
        if isinstance(linear := submodule(model, name), torch.nn.Linear):
            replace(model, name, GraphLinear(linear, nodes, tensors))


def prefix(model: Any, names: Mapping[str, Any]) -> str:
    """Return what a graph puts before the names of a model's parameters."""
    known = model.state_dict()
    ends = (name.removesuffix(one) for one in known for name in names if name.endswith(f".{one}"))
    return "" if any(name in known for name in names) else next(ends, "")


def owner(model: Any, module: str, leaf: str, shape: tuple[int, ...]) -> Any:
    """Return the module that has a tensor of this name and shape on the meta device, if there is one."""
    found = submodule(model, module)
    held = getattr(found, leaf, None)
    fitting = isinstance(held, torch.Tensor) and held.is_meta and tuple(held.shape) == shape
    return found if fitting and not (leaf == "weight" and isinstance(found, torch.nn.Linear)) else None


def submodule(model: Any, name: str) -> Any:
    """Return a module of a model by its name; None where it has none."""
    try:
        return model.get_submodule(name)
    except AttributeError:
        return None


def put(module: Any, leaf: str, values: torch.Tensor) -> None:
    """Give a module a tensor in place of one on the meta device."""
    if leaf in module._parameters:
        module._parameters[leaf] = torch.nn.Parameter(values, requires_grad=False)
    else:
        module._buffers[leaf] = values


def replace(model: Any, name: str, module: torch.nn.Module) -> None:
    """Put a module in the place of another one."""
    parent, _, leaf = name.rpartition(".")
    setattr(model.get_submodule(parent), leaf, module)


def matrices(graph: Any) -> dict[str, list[Any]]:
    """Return the nodes of each matrix that a graph names after its module, in their order.

    Where the range of what it is given was read off, it is asked without: noise has another one.
    """
    found: dict[str, list[int]] = {}
    nodes = list(nodes_of(graph))
    for at, node in enumerate(nodes):
        if named := NAMED.fullmatch(node.name):
            found.setdefault(named["module"].replace("/", "."), []).append(at)
    weights = {tensor.name for tensor in graph.initializer}
    between = [
        at
        for at, node in enumerate(nodes)
        if node.op_type in BETWEEN or (node.op_type == "DequantizeLinear" and node.input[0] in weights)
    ]
    sources = {output: at for at in between for output in nodes[at].output}
    for own in found.values():
        for at in own:  # which grows by what stands before
            own.extend({sources[name] for name in nodes[at].input if name in sources} - {*own})
    return {module: [nodes[at] for at in sorted(own)] for module, own in found.items()}


def nodes_of(graph: Any) -> Iterator[Any]:
    """Yield the nodes of a graph, and of the graphs in it."""
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            if attribute.HasField("g"):
                yield from nodes_of(attribute.g)


class GraphLinear(torch.nn.Linear):  # type: ignore[misc]
    """A Linear that answers by the nodes that a graph has for its matrix, without its bias."""

    def __init__(self, like: torch.nn.Linear, nodes: list[Any], tensors: Mapping[str, Any]) -> None:
        super().__init__(like.in_features, like.out_features, bias=False, device="meta")
        plain = [node.op_type for node in nodes] == ["MatMul"]
        self.weight = torch.nn.Parameter(
            torch.empty(0, dtype=torch.float32 if plain else torch.int8), requires_grad=False
        )
        self.bias = like.bias
        self._nodes, self._tensors = nodes, tensors

    @cached_property
    def _session(self) -> Any:
        """The session, opened once it is asked: most are not, and each holds its weight again."""
        return session_of(alone(self._nodes, self._tensors))

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        """Return what the nodes make of values of shape (rows, in)."""
        (entry,) = self._session.get_inputs()
        (answers,) = self._session.run(None, {entry.name: values.float().numpy()})
        return torch.from_numpy(answers)


def alone(nodes: list[Any], tensors: Mapping[str, Any]) -> bytes:
    """Return a graph of some nodes alone."""
    import onnx

    made = {name for node in nodes for name in node.output}
    read = {name for node in nodes for name in node.input}
    (given,) = {name for name in read if name and name not in made and name not in tensors}
    (last,) = nodes[-1].output
    kind = onnx.TensorProto.FLOAT
    graph = onnx.helper.make_graph(
        nodes,
        "alone",
        [onnx.helper.make_tensor_value_info(given, kind, None)],
        [onnx.helper.make_tensor_value_info(last, kind, None)],
        [tensors[name] for name in sorted(read & tensors.keys())],
    )
    opsets = [onnx.helper.make_opsetid("", 21), onnx.helper.make_opsetid("com.microsoft", 1)]
    return bytes(onnx.helper.make_model(graph, opset_imports=opsets, ir_version=10).SerializeToString())

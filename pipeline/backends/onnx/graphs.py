"""Graphs of a model, by torch's own exporter, with names that tell which module each matrix and table is of.

The exporter names nodes and folded weights by numbers and writes stack traces with paths beside them. Here a node is
called ``/encoder/layer/0/query/MatMul`` after its module, its weight ``encoder.layer.0.query.weight`` as in the source,
and what only tells of the export is taken out: the same model gives the same bytes.
"""

from __future__ import annotations

import ast
import linecache
import logging
import traceback
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, Final

from pipeline.worker.child import WorkerError, first_line

if TYPE_CHECKING:
    import onnx_ir
    import torch

FOLDER: Final = "onnx"
OPSET: Final = 21
LARGEST: Final = (1 << 31) - (1 << 20)  # bytes that a file of protobuf holds, with room for the graph itself
WRAPPED: Final = "model"  # under which name a wrapper holds the model
SCOPES: Final = "pkg.torch.onnx.name_scopes"
WEIGHED: Final = frozenset({"MatMul", "Gemm", "Gather", "Conv"})


@dataclass(frozen=True)
class Graph:
    """One graph to export.

    Attributes:
        name: The file's name without its ending.
        module: A module that holds the model as ``model``, and whose ``forward`` takes and returns what the graph does.
        inputs: An example of each input by its name.
        outputs: The names of the outputs.
        dynamic: The names of the dimensions that vary by their index, in the structure of what ``forward`` takes.
    """

    name: str
    module: torch.nn.Module
    inputs: Mapping[str, Any]
    outputs: Sequence[str]
    dynamic: Any


def export(model: Any, folder: Path) -> list[Path]:
    """Write the graphs of a model in the dtype that it has, and return their files.

    Args:
        model: A model of transformers on the CPU.
        folder: Where ``onnx/`` is made.

    Raises:
        WorkerError: The exporter stops at an operator of it.
    """
    from pipeline.backends.onnx.kinds import kind_of

    return [write(graph, folder / FOLDER / f"{graph.name}.onnx") for graph in kind_of(model).graphs(model.eval())]


def write(graph: Graph, path: Path, largest: int = LARGEST) -> Path:
    """Export one graph into a file; weights that no file of protobuf holds go beside it, into ``<name>.onnx_data``.

    Raises:
        WorkerError: The exporter stops at an operator.
    """
    import onnx_ir

    program = exported(graph)
    tidy(program)
    path.parent.mkdir(parents=True, exist_ok=True)
    size = sum(value.const_value.nbytes for value in program.graph.initializers.values() if value.const_value)
    onnx_ir.save(program, path, external_data=f"{path.name}_data" if size > largest else None)
    return path


def exported(graph: Graph) -> onnx_ir.Model:
    """Return a graph as the exporter makes it.

    Raises:
        WorkerError: The exporter stops at an operator.
    """
    import torch

    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        logging.getLogger("torch.onnx").setLevel(logging.ERROR)
        try:
            program = torch.onnx.export(
                graph.module.eval(),
                (),
                kwargs={"inputs": dict(graph.inputs)},
                dynamo=True,
                input_names=list(graph.inputs),
                output_names=list(graph.outputs),
                dynamic_shapes=varying(graph.dynamic, {}),
                opset_version=OPSET,
                verbose=False,
            )
        except torch.onnx.errors.OnnxExporterError as error:
            raise stopped(error, graph) from error
    return program.model


def varying(named: Any, known: dict[str, Any]) -> Any:
    """Return named dimensions as the exporter has them, one object a name."""
    import torch

    if isinstance(named, str):
        return known.setdefault(named, torch.export.Dim(named))
    if isinstance(named, Mapping):
        return {key: varying(inner, known) for key, inner in named.items()}
    return None if named is None else tuple(varying(inner, known) for inner in named)


def stopped(error: Exception, graph: Graph) -> WorkerError:
    """Return the error for an export that an operator stopped, with the module that it is in."""
    at, why = place(error, graph.module)
    what = f"torch's exporter stopped at {f'{at} of ' if at else ''}{graph.name}.onnx: {why}"
    return WorkerError(
        "library", what, "Quantize this component with another backend, which needs no graph, or leave it out."
    )


def place(error: BaseException, model: torch.nn.Module) -> tuple[str, str]:
    """Return the module that an export stopped in and why, in words; the module is empty where no frame tells it.

    Args:
        error: What the exporter raised: from the model's own code while it was traced, or from the translation of a
            node of what was traced.
        model: The module that was exported.
    """
    import torch

    names = {id(module): name for name, module in model.named_modules()}
    module, why = "", first_line(error)
    for reason, frame, line in frames(error):
        mine, node = frame.f_locals.get("self"), frame.f_locals.get("node")
        if isinstance(node, torch.fx.Node) and node.op == "call_function":
            module = scope(node, model) or module
            why = f"ONNX has nothing for its operator {node.target}."
        elif (name := names.get(id(mine))) and frame.f_globals["__name__"] == type(mine).__module__:
            written = linecache.getline(frame.f_code.co_filename, line).strip()
            module, why = told(name, mine), f"{first_line(reason)} Its code is `{written}`."
    return module, why


def frames(error: BaseException | None) -> Iterator[tuple[BaseException, FrameType, int]]:
    """Yield the calls through which an error and those behind it came, the outermost first, each with its line."""
    while error is not None:
        for frame, line in traceback.walk_tb(error.__traceback__):
            yield error, frame, line
        error = error.__cause__


def scope(node: torch.fx.Node, model: torch.nn.Module) -> str:
    """Return the innermost module that a node was traced in, in words."""
    stack = node.meta.get("nn_module_stack") or {"": ("", None)}
    name, _ = list(stack.values())[-1]
    return told(name, model.get_submodule(name)) if name else ""


def told(name: str, module: torch.nn.Module) -> str:
    """Return a module by its name in the model and its class."""
    return f"{name.removeprefix(WRAPPED).removeprefix('.') or 'the model'} ({type(module).__name__})"


def tidy(model: onnx_ir.Model) -> None:
    """Name nodes and weights after their modules, and take out what only tells of the export."""
    model.doc_string = None
    model.metadata_props.clear()
    for held in (model.graph, *model.functions.values()):
        held.metadata_props.clear()
    taken: set[str] = set()
    for node in model.graph.all_nodes():
        name_after_module(node, taken)
    for node in model.graph.all_nodes():
        node.metadata_props.clear()
        node.doc_string = None
        for value in node.outputs:
            value.metadata_props.clear()
    for name, value in list(model.graph.initializers.items()):
        value.metadata_props.clear()
        if name.startswith(f"{WRAPPED}."):
            rename(value, name.removeprefix(f"{WRAPPED}."), model.graph)
    for value in (*model.graph.inputs, *model.graph.outputs):
        value.metadata_props.clear()


def name_after_module(node: onnx_ir.Node, taken: set[str]) -> None:
    """Name a node after its module where it holds the module's weight, and the weight as the module's."""
    module = module_of(node)
    read = (weight_behind(value) for value in node.inputs if value is not None)
    weights = [value for value in read if value.is_initializer() and len(value.shape or ()) > 1]
    if node.op_type not in WEIGHED or not module or not weights:
        return
    name = f"/{module.replace('.', '/')}/{node.op_type}"
    if name in taken:  # a module that is called twice
        return
    taken.add(name)
    node.name = name
    (weight,) = weights[:1]
    wanted = f"{module}.weight"
    known = weight.graph.initializers if weight.graph is not None else {}
    tied = f"{WRAPPED}.{wanted}" in known  # the table of tokens, turned for the logits
    if known and wanted not in known and not tied and not weight.name.startswith(WRAPPED):
        rename(weight, wanted, weight.graph)


def weight_behind(value: onnx_ir.Value) -> onnx_ir.Value:
    """Return what a value is the transpose of, as the logits' matrix is of the table of tokens; else itself."""
    node = value.producer()
    turned = node.inputs[0] if node is not None and node.op_type == "Transpose" else None
    return value if turned is None else turned


def module_of(node: onnx_ir.Node) -> str:
    """Return the module of the model that a node was exported from; empty where none is told."""
    scopes = ast.literal_eval(node.metadata_props.get(SCOPES, "[]"))
    return scopes[-2].removeprefix(WRAPPED).removeprefix(".") if len(scopes) > 1 else ""


def rename(value: onnx_ir.Value, name: str, graph: Any) -> None:
    """Give a weight another name, by which its graph finds it as well."""
    del graph.initializers[value.name]
    value.name = name
    graph.initializers[name] = value

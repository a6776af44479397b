"""Makes the graphs of one component and quantizes them; a process of its own, whose job is a `BuildRequest`.

It takes the memory of the component, of its graph, and of what the graph becomes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from pipeline.backends.artifact import BuildRequest
from pipeline.backends.build_worker import say
from pipeline.backends.onnx import SCHEMES
from pipeline.backends.onnx.graphs import export
from pipeline.backends.onnx.ranges import Range, ranges
from pipeline.backends.onnx.schemes import given_to_matrices, quantize
from pipeline.backends.oracle.model import known_class
from pipeline.backends.protocol import Calibrated
from pipeline.files import emptied
from pipeline.source import chat_template
from pipeline.worker.child import WorkerError, serve


def make(request: BuildRequest) -> None:
    """Export a component and quantize each of its graphs.

    Raises:
        WorkerError: The library has no such class, the exporter stops, questions lack that the scheme wants, or all is
            kept.
    """
    import torch

    cls = known_class(import_module(request.library), request.class_name)
    model = cls.from_pretrained(request.source, dtype=getattr(torch, request.dtype))
    with emptied(request.out / ".graphs") as folder:
        paths = export(model, folder)
        del model
        quantize_graphs(request, folder, paths)
    chat_template.write(request.source, request.out)  # transformers.js 4.3.2 reads it in the config of a tokenizer only


def quantize_graphs(request: BuildRequest, folder: Path, paths: Sequence[Path]) -> None:
    """Quantize the graphs of a component, which lie below a folder as they will below ``request.out``.

    Raises:
        WorkerError: Questions lack that the scheme wants, or all is kept.
    """
    wanted = dict(request.quantization)
    scheme = wanted.pop("scheme")
    found = calibrated(request, wanted, folder, paths) if issubclass(SCHEMES[scheme].options, Calibrated) else {}
    quantized = 0
    for path in paths:
        to = request.out / path.relative_to(folder).with_stem(f"{path.stem}{SCHEMES[scheme].suffix}")
        to.parent.mkdir(parents=True, exist_ok=True)
        quantized += quantize(scheme, wanted, path, to, ranges=found.get(path.stem, {}))
    if not quantized:
        what = f"No matrix of {request.class_name} is left to be quantized."
        raise WorkerError("recipe", what, "Keep less, or take this component out.")


def calibrated(
    request: BuildRequest, options: Mapping[str, Any], folder: Path, graphs: Sequence[Path]
) -> dict[str, dict[str, Range]]:
    """Return the ranges of what the matrices of some graphs are given while they answer the questions.

    Raises:
        WorkerError: There are none, or they tell of no range.
    """
    if request.calibration is None:
        what = f"The ranges of {request.class_name}'s activations are told by questions, and there are none here."
        raise WorkerError("recipe", what, "Make it by a recipe, or choose a scheme that needs no questions.")
    for path in request.source.iterdir():
        if not path.match("*.safetensors*"):
            (folder / path.name).symlink_to(path.resolve())
    given = {path.stem: given_to_matrices(path, options) for path in graphs}
    return ranges(given, folder, request.calibration.ask)


if __name__ == "__main__":
    serve(lambda job, _: say(BuildRequest.model_validate_json(job), make))

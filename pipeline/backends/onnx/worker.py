"""Makes the graphs of one component and quantizes them; a process of its own, whose job is a `BuildRequest`.

It takes the memory of the component, of its graph, and of what the graph becomes.
"""

from __future__ import annotations

from importlib import import_module

from pipeline.backends.artifact import BuildRequest
from pipeline.backends.build_worker import say
from pipeline.backends.onnx import SCHEMES
from pipeline.backends.onnx.graphs import export
from pipeline.backends.onnx.schemes import quantize
from pipeline.backends.oracle.model import known_class
from pipeline.files import emptied
from pipeline.source import chat_template
from pipeline.worker.child import serve


def make(request: BuildRequest) -> None:
    """Export a component and quantize each of its graphs.

    Raises:
        WorkerError: The library has no such class, or the exporter stops.
    """
    import torch

    cls = known_class(import_module(request.library), request.class_name)
    model = cls.from_pretrained(request.source, dtype=getattr(torch, request.dtype))
    wanted = dict(request.quantization)
    scheme = wanted.pop("scheme")
    with emptied(request.out / ".graphs") as folder:
        for path in export(model, folder):
            to = request.out / path.relative_to(folder).with_stem(f"{path.stem}{SCHEMES[scheme].suffix}")
            to.parent.mkdir(parents=True, exist_ok=True)
            quantize(scheme, wanted, path, to)
    chat_template.write(request.source, request.out)  # transformers.js 4.3.2 reads it in the config of a tokenizer only


if __name__ == "__main__":
    serve(lambda job, _: say(BuildRequest.model_validate_json(job), make))

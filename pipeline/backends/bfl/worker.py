"""Writes one component with diffusers' own functions, as a user of them would; a process of its own.

Its job is a `BuildRequest`.
"""

from __future__ import annotations

import json
from importlib import import_module

import torch
from safetensors.torch import save_file

from pipeline.backends.artifact import CONFIG, BuildRequest
from pipeline.backends.bfl import SCHEMES, fits, metadata, pack
from pipeline.backends.build_worker import say
from pipeline.backends.oracle.linears import is_linear
from pipeline.backends.oracle.model import known_class
from pipeline.worker.child import serve


def make(request: BuildRequest) -> None:
    """Load the component in full precision, and have diffusers quantize its Linear layers.

    Raises:
        WorkerError: There is no such class.
    """
    cls = known_class(import_module(request.library), request.class_name)
    settings = dict(request.quantization)
    inputs = settings.pop("inputs", {})
    scheme, kept = settings["scheme"], {*(settings.get("modules_to_not_convert") or ())}
    model = cls.from_pretrained(request.source, dtype=getattr(torch, request.dtype))
    taken = {
        f"{name}.weight"
        for name, module in model.named_modules()
        if is_linear(module) and name not in kept and fits(scheme, module.in_features)
    }
    tensors: dict[str, torch.Tensor] = {}
    for name, tensor in model.state_dict().items():
        quantized = name in taken and tensor.dtype == model.dtype
        tensors |= pack(scheme, {"inputs": inputs}, name, tensor).tensors if quantized else {name: tensor}
    request.out.mkdir(parents=True, exist_ok=True)
    save_file(tensors, request.out / f"model-{SCHEMES[scheme].suffix}.safetensors", metadata(scheme, "", [], {}))
    config = json.loads((request.source / CONFIG).read_text())
    (request.out / CONFIG).write_text(json.dumps({**config, "quantization_config": settings}, indent=2) + "\n")


if __name__ == "__main__":
    serve(lambda job, _: say(BuildRequest.model_validate_json(job), make))

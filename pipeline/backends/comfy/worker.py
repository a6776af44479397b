"""Writes one component with comfy-kitchen, as a user of it would; a process of its own.

Its job is a `BuildRequest`.
"""

from __future__ import annotations

import shutil
from importlib import import_module

import torch
from safetensors.torch import save_file

from pipeline.backends.artifact import CONFIG, BuildRequest
from pipeline.backends.build_worker import say
from pipeline.backends.comfy import SCHEMES, metadata, pack
from pipeline.backends.comfy.marker import fits
from pipeline.backends.oracle.linears import is_linear
from pipeline.backends.oracle.model import known_class
from pipeline.worker.child import serve


def make(request: BuildRequest) -> None:
    """Load the component in full precision, and have the library quantize its Linear layers.

    Raises:
        WorkerError: There is no such class.
    """
    cls = known_class(import_module(request.library), request.class_name)
    settings = request.quantization
    scheme, kept = settings["scheme"], {*(settings.get("modules_to_not_convert") or ())}
    model = cls.from_pretrained(request.source, dtype=getattr(torch, request.dtype))
    taken = {f"{name}.weight" for name, module in model.named_modules() if is_linear(module) and name not in kept}
    tensors: dict[str, torch.Tensor] = {}
    said: dict[str, str] = {}
    for name, tensor in model.state_dict().items():
        if name in taken and tensor.dtype == model.dtype and fits(scheme, tuple(tensor.shape)):
            made = pack(scheme, settings, name, tensor)
            tensors |= made.tensors
            said[name] = str(made.metadata)
        else:
            tensors[name] = tensor
    request.out.mkdir(parents=True, exist_ok=True)
    file = request.out / f"model_{SCHEMES[scheme].suffix}.safetensors"
    save_file(tensors, file, metadata(scheme, request.class_name, list(tensors), said))
    shutil.copyfile(request.source / CONFIG, request.out / CONFIG)


if __name__ == "__main__":
    serve(lambda job, _: say(BuildRequest.model_validate_json(job), make))

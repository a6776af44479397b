"""Writes one component with the gguf package, as a user of it would; a process of its own.

Its job is a `BuildRequest`.
"""

from __future__ import annotations

import shutil
from importlib import import_module

import gguf
import torch

from pipeline.backends.artifact import CONFIG, BuildRequest
from pipeline.backends.build_worker import say
from pipeline.backends.gguf import metadata, type_of
from pipeline.backends.gguf.library import quantized
from pipeline.backends.oracle.linears import is_linear
from pipeline.backends.oracle.model import known_class
from pipeline.worker.child import serve


def make(request: BuildRequest) -> None:
    """Load the component in full precision, and have the package quantize and write it.

    Raises:
        WorkerError: There is no such class.
    """
    cls = known_class(import_module(request.library), request.class_name)
    dtype, settings = getattr(torch, request.dtype), request.quantization
    scheme = settings["scheme"]
    model = cls.from_pretrained(request.source, dtype=dtype)
    kinds = {
        f"{name}.weight": kind
        for name, module in model.named_modules()
        if is_linear(module) and (kind := type_of(scheme, settings, f"{name}.weight", module.in_features))
    }
    keys = metadata(scheme, request.class_name, [], kinds)
    request.out.mkdir(parents=True, exist_ok=True)
    writer = gguf.GGUFWriter(request.out / f"model-{scheme.upper()}.gguf", keys["general.architecture"])
    writer.add_quantization_version(keys["general.quantization_version"])
    writer.add_file_type(keys["general.file_type"])
    kept = {*(request.quantization.get("modules_to_not_convert") or ())}
    for name, tensor in model.state_dict().items():
        module = name.removesuffix(".weight")
        values = tensor.float().numpy()
        if name in kinds and tensor.dtype == dtype and module not in kept:
            stored = gguf.GGMLQuantizationType[kinds[name]]
            writer.add_tensor(name, quantized(tensor, kinds[name]).numpy(), raw_dtype=stored)
        else:
            half = request.dtype == "float16" and tensor.dtype == dtype and tensor.ndim > 1
            writer.add_tensor(name, tensor.numpy() if half else values)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    shutil.copyfile(request.source / CONFIG, request.out / CONFIG)


if __name__ == "__main__":
    serve(lambda job, _: say(BuildRequest.model_validate_json(job), make))

"""Writes one component with compressed-tensors, as llm-compressor does without calibration; a process of its own.

Its job is a `BuildRequest`.
"""

from __future__ import annotations

from importlib import import_module

import torch
from compressed_tensors.compressors import ModelCompressor
from compressed_tensors.quantization import QuantizationConfig, apply_quantization_config
from compressed_tensors.quantization.utils import is_module_quantized

from pipeline.backends.artifact import BuildRequest
from pipeline.backends.build_worker import say
from pipeline.backends.compressed_tensors import scales_of
from pipeline.backends.compressed_tensors.library import left
from pipeline.backends.oracle.model import known_class
from pipeline.worker.child import serve


def make(request: BuildRequest) -> None:
    """Load the component in full precision, find the scales of its Linear layers, and have the library compress it.

    Raises:
        WorkerError: There is no such class.
    """
    cls = known_class(import_module(request.library), request.class_name)
    model = cls.from_pretrained(request.source, dtype=getattr(torch, request.dtype))
    settings = {**request.quantization, "ignore": left(model, request.quantization), "quantization_status": "frozen"}
    apply_quantization_config(model, QuantizationConfig.model_validate(settings), show_progress=False)
    for module in model.modules():
        if is_module_quantized(module):
            for name, scale in scales_of(module.weight.data, module.quantization_scheme.weights).items():
                getattr(module, name).data = scale
    compressor = ModelCompressor.from_pretrained_model(model)
    compressor.compress_model(model)
    model.save_pretrained(request.out)
    compressor.update_config(request.out)


if __name__ == "__main__":
    serve(lambda job, _: say(BuildRequest.model_validate_json(job), make))

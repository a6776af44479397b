"""Writes one component with compressed-tensors, as llm-compressor does without calibration; a process of its own.

Its job is a `BuildRequest`.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

import torch
from compressed_tensors.compressors import ModelCompressor
from compressed_tensors.quantization import QuantizationConfig, apply_quantization_config
from compressed_tensors.quantization.utils import is_module_quantized

from pipeline.backends.artifact import BuildRequest
from pipeline.backends.build_worker import say
from pipeline.backends.compressed_tensors import scales_of
from pipeline.backends.compressed_tensors.library import left
from pipeline.backends.oracle.model import known_class
from pipeline.source.fused import fused
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
    companies: dict[str, list[Any]] = {}
    for name, module in model.named_modules():
        if is_module_quantized(module):
            companies.setdefault(f"{fused(name) or name} of {module.in_features}", []).append(module)
    for company in companies.values():
        whole = torch.cat([module.weight.data for module in company])
        for module in company:
            scales = scales_of(module.weight.data, module.quantization_scheme.weights, whole)
            for name, scale in scales.items():
                getattr(module, name).data = scale
    compressor = ModelCompressor.from_pretrained_model(model)
    compressor.compress_model(model)
    model.save_pretrained(request.out)
    compressor.update_config(request.out)


if __name__ == "__main__":
    serve(lambda job, _: say(BuildRequest.model_validate_json(job), make))

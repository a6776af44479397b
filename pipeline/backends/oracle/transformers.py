"""What ``PreTrainedModel.from_pretrained`` and ``save_pretrained`` of transformers 5.23 make of a component.

Part of the child process that asks the libraries; see `pipeline.backends.oracle.worker`.
"""

from __future__ import annotations

import copy
import json
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.backends import BACKENDS
from pipeline.backends.oracle.conversion import ConversionRequest
from pipeline.backends.oracle.model import Followed, Prepared, known_class
from pipeline.backends.oracle.weight_mapping import rehearse

if TYPE_CHECKING:
    import torch


def prepare(question: ConversionRequest, settings: dict[str, Any]) -> Prepared:
    """Build the model without weights and let the library's quantizer preprocess it."""
    import torch
    from transformers.modeling_utils import _get_dtype
    from transformers.quantizers.auto import AutoQuantizationConfig, get_hf_quantizer

    config, device_map, quirks = read_config(question), {"": "cpu"}, BACKENDS[question.backend].quirks()
    if quantizer := quirks.preparing(settings):
        config.quantization_config = quantizer.quantization_config
    else:
        wanted = AutoQuantizationConfig.from_dict(settings)
        quantizer, config, device_map = get_hf_quantizer(config, wanted, device_map, True, {})
    config, dtype = _get_dtype(getattr(torch, question.dtype), None, config, None, None, True, quantizer)
    model = build(question, config, dtype)
    modules = dict(model.named_modules(remove_duplicate=False))
    parameters = model.state_dict(keep_vars=True)
    with torch.device("meta"):
        quantizer.preprocess_model(model=model, dtype=dtype, device_map=device_map, checkpoint_files=None)
    return Prepared(model, quantizer, modules, parameters, quirks)


def read_config(question: ConversionRequest) -> Any:
    """Return the class's config as it reads it from a file, which may be that of a larger model around it."""
    import transformers

    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "config.json").write_text(json.dumps(question.config))
        config = known_class(transformers, question.class_name).config_class.from_pretrained(folder)
    config.name_or_path = ""
    return config


def build(question: ConversionRequest, config: Any, dtype: torch.dtype) -> Any:
    """Build the model on the meta device, in the circumstances in which the library does."""
    import transformers
    from transformers.utils.generic import ContextManagers

    cls = known_class(transformers, question.class_name)
    with ContextManagers(cls.get_init_context(dtype, True, False, False)):
        return cls(copy.deepcopy(config))


def follow(question: ConversionRequest, prepared: Prepared) -> Followed:
    """Follow every tensor of the source through the library's loader and writer.

    Raises:
        WorkerError: Names, shapes or the form of the source's tensors do not fit.
    """
    import torch

    return rehearse(question, prepared, build(question, prepared.model.config, getattr(torch, question.dtype)))


def dtype_of(question: ConversionRequest, prepared: Prepared, stored: str, parameter: str) -> str:  # noqa: ARG001  as diffusers
    """Return the torch dtype of a tensor after loading: what the model plans in float32, else what it was built in."""
    import torch
    from transformers.core_model_loading import build_glob_alternation

    dtype: torch.dtype = getattr(torch, question.dtype)
    plan: dict[str, torch.dtype] = prepared.model._get_dtype_plan(dtype)
    taken = prepared.quantizes(parameter)
    held = dtype if taken else prepared.parameters[parameter].dtype
    if plan:
        alternatives, groups, _ = build_glob_alternation(list(plan))
        if found := alternatives.search(parameter):
            held = plan[groups[found.lastgroup]]
    return spelled(held) if taken else prepared.quirks.stores(prepared, parameter, spelled(held))


def spelled(dtype: torch.dtype) -> str:
    """Return a dtype's name."""
    return str(dtype).removeprefix("torch.")


def config_text(question: ConversionRequest, prepared: Prepared) -> str:
    """Return ``config.json`` as the library writes it, without the path that it loaded from."""
    model = prepared.model
    prepared.quantizer.postprocess_model(model)
    model.config.dtype = dtype_of_model(question, prepared)
    model.config.architectures = [question.class_name]
    with tempfile.TemporaryDirectory() as folder:
        model.config.save_pretrained(folder)
        return (Path(folder) / "config.json").read_text()


def dtype_of_model(question: ConversionRequest, prepared: Prepared) -> str:
    """Return the dtype of the first parameter that is one of floats once the model is loaded."""
    whole = prepared.quirks.keeps_dtype
    for name, _ in prepared.model.named_parameters():
        known = prepared.parameters.get(name)
        if known is not None and known.is_floating_point() and (whole or not prepared.quantizes(name)):
            return dtype_of(question, prepared, "F32", name)
    return question.dtype

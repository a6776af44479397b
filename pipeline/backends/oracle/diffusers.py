"""What ``ModelMixin.from_pretrained`` and ``save_pretrained`` of diffusers 0.42 make of a component.

Part of the child process that asks the libraries; see `pipeline.backends.oracle.worker`.
"""

from __future__ import annotations

import copy
import re
import tempfile
from pathlib import Path
from typing import Any

from pipeline.backends import BACKENDS
from pipeline.backends.oracle.conversion import ConversionRequest
from pipeline.backends.oracle.model import (
    Followed,
    Place,
    Prepared,
    known_class,
    refuse_missing,
    refuse_shape,
    refuse_strangers,
)
from pipeline.source.safetensors import FLOATS


def prepare(question: ConversionRequest, settings: dict[str, Any]) -> Prepared:
    """Build the model without weights and let the library's quantizer preprocess it."""
    import diffusers
    import torch
    from accelerate import init_empty_weights
    from diffusers.quantizers.auto import DiffusersAutoQuantizer

    cls = remapped(known_class(diffusers, question.class_name), question)
    quirks = BACKENDS[question.backend].quirks()
    quantizer = quirks.quantizer(settings) or DiffusersAutoQuantizer.from_config(settings, pre_quantized=False)
    config = {**copy.deepcopy(question.config), "quantization_config": quantizer.quantization_config}
    before = cls._set_default_torch_dtype(getattr(torch, question.dtype))
    try:
        with init_empty_weights():
            model = cls.from_config(config)
    finally:
        torch.set_default_dtype(before)
    modules = dict(model.named_modules(remove_duplicate=False))
    parameters = model.state_dict(keep_vars=True)
    fp32 = cls._keep_in_fp32_modules or []
    fp32 = fp32 if isinstance(fp32, list) else [fp32]
    # Set by validate_environment, which refuses machines without a GPU and is not called here.
    quantizer.offload = False
    quantizer.preprocess_model(model=model, device_map={"": torch.device("cpu")}, keep_in_fp32_modules=list(fp32))
    return Prepared(model, quantizer, modules, parameters, quirks, tuple(fp32))


def remapped(cls: Any, question: ConversionRequest) -> Any:
    """Return the class that the library loads in place of one that it keeps for old checkpoints only."""
    from diffusers.models.model_loading_utils import _fetch_remapped_cls_from_config
    from diffusers.models.modeling_utils import LegacyModelMixin

    if issubclass(cls, LegacyModelMixin) and "norm_type" in question.config:
        return _fetch_remapped_cls_from_config(question.config, cls)
    return cls


def follow(question: ConversionRequest, prepared: Prepared) -> Followed:
    """Follow every tensor of the source into the model; old names of attention layers are written as new ones.

    Raises:
        WorkerError: The model misses a tensor, does not know one, or wants another shape.
    """
    held = {name: name for name in question.tensors}
    prepared.model._fix_state_dict_keys_on_load(held)
    patterns = prepared.model._keys_to_ignore_on_load_unexpected or []
    unknown = held.keys() - prepared.parameters.keys()
    dropped = {name for name in unknown if any(re.search(pattern, name) for pattern in patterns)}
    refuse_strangers(question, {held[name] for name in unknown - dropped})
    refuse_missing(question, prepared.parameters.keys() - held.keys())
    for name, parameter in prepared.parameters.items():
        refuse_shape(question, held[name], question.tensors[held[name]].shape, tuple(parameter.shape))
    return Followed({held[name]: Place(name, name) for name in prepared.parameters})


def dtype_of(question: ConversionRequest, prepared: Prepared, stored: str, parameter: str) -> str:
    """Return the torch dtype that a tensor has after loading, or when it is quantized."""
    if stored not in FLOATS:
        return str(prepared.parameters[parameter].dtype).removeprefix("torch.")
    kept = bool(set(prepared.fp32) & set(parameter.split(".")))
    taken = prepared.quantizes(parameter)
    loaded = "float32" if kept and not (taken and prepared.quirks.casts_float32) else question.dtype
    return loaded if taken else prepared.quirks.stores(prepared, parameter, loaded)


def config_text(question: ConversionRequest, prepared: Prepared) -> str:  # noqa: ARG001  the same for both libraries
    """Return ``config.json`` as the library writes it, without the path that it loaded from."""
    with tempfile.TemporaryDirectory() as folder:
        prepared.model.save_config(folder)
        return (Path(folder) / "config.json").read_text()

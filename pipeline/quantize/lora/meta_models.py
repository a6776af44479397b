"""Models with every parameter's shape and dtype and none of its content, for libraries that look before they load.

Part of the child process that fuses; see `pipeline.quantize.lora.worker`.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pipeline.backends.oracle import diffusers as library_diffusers
from pipeline.backends.oracle import transformers as library_transformers
from pipeline.backends.oracle.conversion import ConversionRequest
from pipeline.backends.oracle.model import known_class
from pipeline.backends.oracle.weight_mapping import renamed
from pipeline.quantize.lora.adapters import ComponentFiles, TensorLocation
from pipeline.source.safetensors import FLOATS, TORCH_DTYPES, TensorHeader

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class MetaModel:
    """A model without content.

    Attributes:
        module: The model, on the CPU; its parameters take no memory.
        sources: The tensor in the files that each parameter is loaded from, by the parameter's name.
        tensors: Where those lie.
    """

    module: Any
    sources: dict[str, str]
    tensors: dict[str, TensorLocation]


def hollow(part: ComponentFiles) -> MetaModel:
    """Build a component without content.

    Raises:
        WorkerError: Its class is not known.
    """
    import torch

    question = ConversionRequest(
        library=part.library,
        class_name=part.class_name,
        config=part.config,
        tensors={tensor: TensorHeader(dtype=home.dtype, shape=home.shape) for tensor, home in part.tensors.items()},
        dtype=dtype_of(part),
        quantization={},
        backend="",
    )
    model, sources = BUILD[part.library](question)
    stored = {name: getattr(torch, TORCH_DTYPES[part.tensors[source].dtype]) for name, source in sources.items()}
    empty(model, stored)
    return MetaModel(model, sources, part.tensors)


def dtype_of(part: ComponentFiles) -> str:
    """Return the torch dtype in which most of a component's values are stored, of those that are floats."""
    sizes: dict[str, int] = {}
    for home in part.tensors.values():
        if home.dtype in FLOATS:
            sizes[home.dtype] = sizes.get(home.dtype, 0) + home.end - home.begin
    return TORCH_DTYPES[max(sizes, key=sizes.__getitem__, default="F32")]


def build_diffusers(question: ConversionRequest) -> tuple[Any, dict[str, str]]:
    """Return a model of diffusers on the meta device, and the tensor that each of its parameters is loaded from."""
    import diffusers
    from accelerate import init_empty_weights

    cls = library_diffusers.remapped(known_class(diffusers, question.class_name), question)
    with init_empty_weights():
        model = cls.from_config(copy.deepcopy(question.config))
    held = {name: name for name in question.tensors}
    model._fix_state_dict_keys_on_load(held)
    return model, held


def build_transformers(question: ConversionRequest) -> tuple[Any, dict[str, str]]:
    """Return a model of transformers on the meta device, and the tensor that each parameter is as it is loaded from."""
    import torch

    config = library_transformers.read_config(question)
    model = library_transformers.build(question, config, getattr(torch, question.dtype))
    found, changed = renamed(question, model)
    return model, {name: sources[0] for name, sources in found.items() if name not in changed and len(sources) == 1}


BUILD = {"diffusers": build_diffusers, "transformers": build_transformers}


def empty(model: Any, dtypes: dict[str, torch.dtype]) -> None:
    """Put parameters and buffers onto the CPU, where one zero stands for all values of each."""
    import torch

    for name, module in model.named_modules(remove_duplicate=False):
        prefix = f"{name}." if name else ""
        for leaf, held in module._parameters.items():
            if held is not None:
                dtype = dtypes.get(f"{prefix}{leaf}", held.dtype)
                values = torch.zeros((), dtype=dtype).expand(held.shape)
                module._parameters[leaf] = torch.nn.Parameter(values, requires_grad=False)
        for leaf, held in module._buffers.items():
            if held is not None and held.is_meta:
                module._buffers[leaf] = torch.zeros((), dtype=held.dtype).expand(held.shape)

"""What ComfyUI reads of a weight, asked of diffusers' modules and loaded into them; part of child processes.

ComfyUI itself is no library. Its layers hold comfy-kitchen's ``QuantizedTensor``, and so do diffusers' here: they
answer with the same function, int8 with activations quantized as they come.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from accelerate import init_empty_weights
from comfy_kitchen.float_utils import from_blocked, to_blocked
from comfy_kitchen.tensor import (
    QuantizedTensor,
    TensorCoreFP8Layout,
    TensorCoreMXFP8Layout,
    TensorCoreNVFP4Layout,
    TensorWiseINT8Layout,
)
from diffusers.quantizers.base import DiffusersQuantizer
from safetensors.torch import load_file

from pipeline.backends.comfy import FORM
from pipeline.backends.comfy.marker import fits
from pipeline.backends.oracle.linears import Wanted, is_linear
from pipeline.backends.oracle.model import Prepared
from pipeline.backends.oracle.probing import answer_single_file
from pipeline.backends.oracle.single_file import SingleFileRequest


class Asked(DiffusersQuantizer):  # type: ignore[misc]
    """A quantizer that takes the weights of Linear layers whose shape fits the scheme, and leaves the modules alone.

    Args:
        settings: What a user asks for: the scheme, and the modules that are left alone.
    """

    def __init__(self, settings: dict[str, Any]) -> None:
        super().__init__(Wanted(settings), pre_quantized=True)
        self._scheme = settings["scheme"]
        self._fp32: set[str] = set()

    def _process_model_before_weight_loading(
        self, _model: Any, *, keep_in_fp32_modules: list[str], **_further: Any
    ) -> None:
        """Remember what diffusers keeps in float32."""
        self._fp32 = {*keep_in_fp32_modules}

    def _process_model_after_weight_loading(self, model: Any, **_further: Any) -> Any:
        """Leave the model as it is."""
        return model

    is_serializable = is_trainable = False

    def check_if_quantized_param(self, model: Any, _value: Any, name: str, *_further: Any, **_more: Any) -> bool:
        """Return whether a parameter is the weight of one of those layers."""
        module = name.rpartition(".")[0]
        return (
            is_linear(model.get_submodule(module))
            and module not in self.quantization_config.left
            and not self._fp32 & set(module.split("."))
            and fits(self._scheme, model.get_parameter(name).shape)
        )

    def left_because(self, module: Any) -> str:
        """Return why a layer stays as it is that nobody asked to keep."""
        shape = tuple(module.weight.shape)
        return "" if fits(self._scheme, shape) else f"{self._scheme} has no tiles for {shape[0]} x {shape[1]}"


def left_because(prepared: Prepared, name: str) -> str:
    """Return why a module stays as it is that nobody asked to keep."""
    return str(prepared.quantizer.left_because(prepared.modules[name]))


def opened(kind: Any, folder: Path, dtype: torch.dtype) -> Any:
    """Return a component whose layers hold what ComfyUI's would.

    Args:
        kind: Its class.
        folder: Its config, and the one file of its weights.
        dtype: What it computes in.
    """
    (file,) = FORM.weights_in(folder)
    config = {**kind.load_config(folder)}
    with init_empty_weights():
        model = kind.from_config(config)
    shapes = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    held = weights_in(load_file(folder / file), dtype)
    if held.keys() != shapes.keys():
        held = as_diffusers_has(held, SingleFileRequest(class_name=kind.__name__, config=config, shapes=shapes))
    for name in [name for name, tensor in held.items() if isinstance(tensor, QuantizedTensor)]:
        module = model.get_submodule(name.removesuffix(".weight"))
        module.weight = torch.nn.Parameter(held.pop(name), requires_grad=False)
        shapes.pop(name)
    if differ := held.keys() ^ shapes.keys():
        raise ValueError(f"{file} and {kind.__name__} differ in {min(differ)!r}")
    model.load_state_dict(held, strict=False, assign=True)
    return model.eval()


def weights_in(tensors: dict[str, torch.Tensor], dtype: torch.dtype) -> dict[str, torch.Tensor]:
    """Return the weights of a file, those of marked layers as comfy-kitchen computes with them in a dtype."""
    marked = [name.removesuffix("comfy_quant") for name in tensors if name.endswith(".comfy_quant")]
    made = {f"{prefix}weight": quantized(tensors, prefix, dtype) for prefix in marked}
    return {**tensors, **made}


def quantized(tensors: dict[str, torch.Tensor], prefix: str, dtype: torch.dtype) -> QuantizedTensor:
    """Take the tensors of a layer, whose names begin with a prefix, out of a file, and return its weight."""
    taken = {name.removeprefix(prefix): tensors.pop(name) for name in [*tensors] if name.startswith(f"{prefix}weight")}
    said = json.loads(tensors.pop(f"{prefix}comfy_quant").numpy().tobytes())
    codes, scale = taken["weight"], taken["weight_scale"]
    told: dict[str, Any] = {"scale": scale, "orig_dtype": dtype, "orig_shape": tuple(codes.shape)}
    if said["format"] == "nvfp4":
        kind: Any = TensorCoreNVFP4Layout
        told |= {"scale": taken["weight_scale_2"], "block_scale": scale}
        told["orig_shape"] = (codes.shape[0], codes.shape[1] * 2)
    elif said["format"] == "mxfp8":
        kind = TensorCoreMXFP8Layout
        told |= {"scale": scale.view(torch.float8_e8m0fnu)}
    elif said["format"] == "float8_e4m3fn":
        kind = TensorCoreFP8Layout
    else:
        kind = TensorWiseINT8Layout
        told |= {name: said[name] for name in ("convrot", "convrot_groupsize") if name in said}
    return QuantizedTensor(codes, kind.__name__, kind.Params(**told))


def as_diffusers_has(held: dict[str, torch.Tensor], question: SingleFileRequest) -> dict[str, torch.Tensor]:
    """Return the weights of a file in the names of its family as those of diffusers' layers, which have rows of them.

    Raises:
        ValueError: A weight lies in several that are quantized, each by itself.
    """
    found = {}
    for name, parts in answer_single_file(question).places().items():
        shape, (first, *others) = question.shapes[name], [held[target] for _, target, _ in parts]
        rows = [torch.arange(before, before + part.stop - part.start) for part, _, before in parts]
        if not isinstance(first, QuantizedTensor):
            pieces = [held[target].reshape(-1, *shape[1:])[at] for (_, target, _), at in zip(parts, rows, strict=True)]
            found[name] = torch.cat(pieces).reshape(shape)
        elif all(other is first for other in others):
            found[name] = rows_of(first, torch.cat(rows))
        else:
            raise ValueError(f"{name} lies in several quantized tensors")
    return found


def rows_of(weight: QuantizedTensor, rows: torch.Tensor) -> QuantizedTensor:
    """Return some rows of a weight with their scales: those of blocks lie in tiles of 128 rows."""
    params, taken = weight.params, dict[str, Any](orig_shape=(len(rows), weight.params.orig_shape[1]))
    tiles = {"TensorCoreNVFP4Layout": ("block_scale", 16), "TensorCoreMXFP8Layout": ("scale", 32)}
    if weight._layout_cls in tiles:
        name, block = tiles[weight._layout_cls]
        scales, (tall, wide) = getattr(params, name), (params.orig_shape[0], params.orig_shape[1] // block)
        lines = from_blocked(scales.view(torch.uint8), tall, wide)[rows]
        taken[name] = to_blocked(lines, flatten=False).view(scales.dtype)
    elif params.scale.ndim > 1:
        taken["scale"] = params.scale[rows]
    return QuantizedTensor(weight._qdata[rows], weight._layout_cls, replace(params, **taken))

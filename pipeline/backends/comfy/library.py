"""What ComfyUI reads of a weight, asked of diffusers' modules and loaded into them; part of child processes.

ComfyUI itself is no library. Its layers hold comfy-kitchen's ``QuantizedTensor``, and so do diffusers' here: they
answer with the same function, int8 with activations quantized as they come.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from comfy_kitchen.tensor import (
    QuantizedTensor,
    TensorCoreFP8Layout,
    TensorCoreMXFP8Layout,
    TensorCoreNVFP4Layout,
    TensorWiseINT8Layout,
)
from diffusers.quantizers.base import DiffusersQuantizer
from safetensors.torch import load_file

from pipeline.backends.comfy.marker import fits
from pipeline.backends.oracle.conversion import ConversionRequest
from pipeline.backends.oracle.model import Prepared
from pipeline.source.safetensors import FLOATS
from pipeline.worker.child import WorkerError

CALLED_BY_OTHERS = ("NonDynamicallyQuantizableLinear",)  # whose weight torch's attention takes itself


class Wanted:
    """What a user asks for, as JSON."""

    def __init__(self, settings: dict[str, Any]) -> None:
        self._settings = settings
        self.quant_method = settings["quant_method"]

    def to_dict(self) -> dict[str, Any]:
        """Return it."""
        return self._settings


class Asked(DiffusersQuantizer):  # type: ignore[misc]
    """A quantizer that takes the weights of Linear layers whose shape fits the scheme, and leaves the modules alone.

    Args:
        settings: What a user asks for: the scheme, and the modules that are left alone.
    """

    def __init__(self, settings: dict[str, Any]) -> None:
        super().__init__(Wanted(settings), pre_quantized=True)
        self._scheme = settings["scheme"]
        self._left = {*(settings.get("modules_to_not_convert") or ())}
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
            linear(model.get_submodule(module))
            and module not in self._left
            and not self._fp32 & set(module.split("."))
            and fits(self._scheme, model.get_parameter(name).shape)
        )

    def left_because(self, module: Any) -> str:
        """Return why a layer stays as it is that nobody asked to keep."""
        shape = tuple(module.weight.shape)
        return "" if fits(self._scheme, shape) else f"{self._scheme} has no tiles for {shape[0]} x {shape[1]}"


def linear(module: Any) -> bool:
    """Return whether a module is a Linear layer that is called itself."""
    return isinstance(module, torch.nn.Linear) and type(module).__name__ not in CALLED_BY_OTHERS


def left_because(prepared: Prepared, name: str) -> str:
    """Return why a module stays as it is that nobody asked to keep."""
    return str(prepared.quantizer.left_because(prepared.modules[name]))


def refuse_unreadable(question: ConversionRequest, prepared: Prepared) -> None:  # noqa: ARG001
    """Refuse a source that holds what no float is.

    Raises:
        WorkerError: It does.
    """
    for name, tensor in question.tensors.items():
        if tensor.dtype not in FLOATS:
            what = f"The tensor {name!r} is stored as {tensor.dtype}; somebody may have quantized it before."
            raise WorkerError("recipe", what, "Choose a source in full precision.")


def opened(kind: Any, folder: Path, dtype: torch.dtype) -> Any:
    """Return a component whose layers hold what ComfyUI's would.

    Args:
        kind: Its class.
        folder: Its config, and the one file of its weights.
        dtype: What it computes in.
    """
    from accelerate import init_empty_weights

    (file,) = folder.glob("*.safetensors")
    tensors = load_file(file)
    config = {**kind.load_config(folder)}
    config.pop("quantization_config", None)
    with init_empty_weights():
        model = kind.from_config(config)
    marked = [name.removesuffix(".comfy_quant") for name in tensors if name.endswith(".comfy_quant")]
    for name in marked:
        module = model.get_submodule(name)
        weight = quantized(tensors, f"{name}.", tuple(module.weight.shape), dtype)
        module.weight = torch.nn.Parameter(weight, requires_grad=False)
    missing, unknown = model.load_state_dict(tensors, strict=False, assign=True)
    if differ := {*missing, *unknown} - {f"{name}.weight" for name in marked}:
        raise ValueError(f"{file} and {kind.__name__} differ in {min(differ)!r}")
    return model.eval()


def quantized(
    tensors: dict[str, torch.Tensor], prefix: str, shape: tuple[int, ...], dtype: torch.dtype
) -> QuantizedTensor:
    """Take the tensors of a layer, whose names begin with a prefix, out of a file, and return its weight."""
    taken = {name.removeprefix(prefix): tensors.pop(name) for name in [*tensors] if name.startswith(f"{prefix}weight")}
    said = json.loads(tensors.pop(f"{prefix}comfy_quant").numpy().tobytes())
    told: dict[str, Any] = {"scale": taken["weight_scale"], "orig_dtype": dtype, "orig_shape": shape}
    if said["format"] == "nvfp4":
        kind: Any = TensorCoreNVFP4Layout
        told |= {"scale": taken["weight_scale_2"], "block_scale": taken["weight_scale"]}
    elif said["format"] == "mxfp8":
        kind = TensorCoreMXFP8Layout
        told |= {"scale": taken["weight_scale"].view(torch.float8_e8m0fnu)}
    elif said["format"] == "float8_e4m3fn":
        kind = TensorCoreFP8Layout
    else:
        kind = TensorWiseINT8Layout
        told |= {name: said[name] for name in ("convrot", "convrot_groupsize") if name in said}
    return QuantizedTensor(taken["weight"], kind.__name__, kind.Params(**told))

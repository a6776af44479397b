"""A quantization library that this program does not know: Linear weights in 8 bits with one scale a row, in diffusers.

Importing it is what tells diffusers of it.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any

import torch
from diffusers.quantizers import auto
from diffusers.quantizers.base import DiffusersQuantizer
from diffusers.quantizers.quantization_config import QuantizationConfigMixin


class Method(StrEnum):
    ROWS8 = "rows8"


class Rows8Config(QuantizationConfigMixin):
    def __init__(self, modules_to_not_convert: list[str] | None = None, **_: Any) -> None:
        self.quant_method = Method.ROWS8
        self.modules_to_not_convert = modules_to_not_convert or []

    def to_diff_dict(self) -> dict[str, Any]:
        return self.to_dict()


class Rows8Linear(torch.nn.Linear):
    """A Linear whose weight is of integers, once it was quantized or loaded."""

    def __init__(self, of: torch.nn.Linear) -> None:
        super().__init__(of.in_features, of.out_features, of.bias is not None, device="meta", dtype=of.weight.dtype)
        self.scale = torch.nn.Parameter(torch.empty((of.out_features, 1), device="meta"), False)

    def quantize(self, weight: torch.Tensor) -> None:
        scale = weight.float().abs().amax(dim=1, keepdim=True).clamp_min(1e-12) / 127
        codes = (weight.float() / scale).round().to(torch.int8)
        self.weight = torch.nn.Parameter(codes, requires_grad=False)
        self.scale = torch.nn.Parameter(scale.to(weight.dtype), requires_grad=False)

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.linear(values, self.weight.to(values.dtype) * self.scale.to(values.dtype), self.bias)


class Rows8Quantizer(DiffusersQuantizer):
    is_serializable = is_trainable = True

    def _process_model_before_weight_loading(self, model: Any, **_: Any) -> None:
        for name, module in list(model.named_modules()):
            if type(module) is torch.nn.Linear and name not in self.quantization_config.modules_to_not_convert:
                outer, _, leaf = name.rpartition(".")
                setattr(model.get_submodule(outer), leaf, Rows8Linear(module))
        model.config.quantization_config = self.quantization_config

    def _process_model_after_weight_loading(self, model: Any, **_: Any) -> Any:
        return model

    def check_if_quantized_param(
        self, model: Any, param_value: Any, param_name: str, state_dict: Any, **_: Any
    ) -> bool:
        outer, _, leaf = param_name.rpartition(".")
        return leaf == "weight" and isinstance(model.get_submodule(outer), Rows8Linear)

    def create_quantized_param(self, model: Any, param_value: Any, param_name: str, *_: Any, **__: Any) -> None:
        linear = model.get_submodule(param_name.rpartition(".")[0])
        if self.pre_quantized:
            linear.weight = torch.nn.Parameter(param_value, requires_grad=False)
        else:
            linear.quantize(param_value)

    def update_missing_keys(self, model: Any, missing_keys: list[str], prefix: str) -> list[str]:
        return [name for name in missing_keys if not name.endswith(".scale")]


auto.AUTO_QUANTIZER_MAPPING["rows8"] = Rows8Quantizer
auto.AUTO_QUANTIZATION_CONFIG_MAPPING["rows8"] = Rows8Config

"""The library's own way: load the whole model with its quantization config, save it. Arguments: source, out, scheme."""

from __future__ import annotations

import sys

import torch

source, out, scheme = sys.argv[1:]
from diffusers import FluxTransformer2DModel  # noqa: E402

if scheme == "torchao-int8":
    from diffusers import TorchAoConfig
    from torchao.quantization import Int8WeightOnlyConfig

    config, place = TorchAoConfig(Int8WeightOnlyConfig()), {}
elif scheme == "quanto-int8":
    from diffusers import QuantoConfig

    config, place = QuantoConfig(weights_dtype="int8"), {}
else:  # diffusers refuses bitsandbytes without a GPU, and only that check is lifted
    from diffusers import BitsAndBytesConfig
    from diffusers.quantizers.bitsandbytes import BnB4BitDiffusersQuantizer

    BnB4BitDiffusersQuantizer.validate_environment = lambda *_, **__: None
    config = BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=torch.bfloat16)
    place = {"device_map": "cpu"}
model = FluxTransformer2DModel.from_pretrained(source, quantization_config=config, dtype=torch.bfloat16, **place)
model.save_pretrained(out)

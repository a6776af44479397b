"""Small models in every format, each made by the library whose format it is; and the base that they are made of."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, Final

import numpy as np

BLOCKS: Final = 8
WIDE: Final = {"attn.to_q": (64, 256), "attn.to_k": (64, 256), "ff.up": (96, 256), "ff.down": (64, 512)}
Tensors = dict[str, Any]


def base() -> Tensors:
    """Return the tensors of a small transformer in bfloat16, by name; nobody changes them."""
    return dict(_base())


@cache
def _base() -> Tensors:
    import torch

    made = torch.Generator().manual_seed(7)
    tensors: Tensors = {}
    for block in range(BLOCKS):
        for name, shape in WIDE.items():
            rows = torch.exp(0.3 * torch.randn(shape[0], 1, generator=made))  # they differ, as trained ones do
            weight = 0.05 * rows * torch.randn(shape, generator=made)
            tensors[f"blocks.{block}.{name}.weight"] = weight.bfloat16()
            tensors[f"blocks.{block}.{name}.bias"] = (0.1 * torch.randn(shape[0], generator=made)).bfloat16()
        tensors[f"blocks.{block}.norm.weight"] = (1 + 0.1 * torch.randn(256, generator=made)).bfloat16()
    untrained = tensors["blocks.6.ff.up.weight"]  # in parts, as of pruned models and dead neurons
    untrained[3, :128] = 0
    untrained[9] *= 1e-20
    tensors["img_in.weight"] = (0.1 * torch.randn(256, 64, generator=made)).bfloat16()
    return tensors


def layers(tensors: Tensors) -> list[str]:
    """Return the names of the layers that are quantized."""
    return [name.removesuffix(".weight") for name in tensors if name.startswith("blocks.") and tensors[name].ndim == 2]


def plain(tensors: Tensors) -> Tensors:
    """Return what is not quantized."""
    weights = {f"{layer}.weight" for layer in layers(tensors)}
    return {name: tensor for name, tensor in tensors.items() if name not in weights}


def saved(folder: Path, tensors: Tensors, metadata: dict[str, str] | None = None, name: str = "model") -> Path:
    """Write one file of safetensors and return it."""
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.safetensors"
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, path, metadata)
    return path


def configured(folder: Path, config: dict[str, Any], name: str = "config.json") -> None:
    """Write a configuration beside it."""
    (folder / name).write_text(json.dumps(config))


def as_base(folder: Path) -> None:
    saved(folder, base())


# ComfyUI


def comfy(kind: str, **options: Any) -> Callable[[Path], None]:
    """Return what writes a model as ComfyUI saves it, by comfy-kitchen."""
    layouts = {
        "int8_tensorwise": "TensorWiseINT8Layout",
        "float8_e4m3fn": "TensorCoreFP8Layout",
        "mxfp8": "TensorCoreMXFP8Layout",
        "nvfp4": "TensorCoreNVFP4Layout",
        "convrot_w4a4": "TensorCoreConvRotW4A4Layout",
        "asym_w4a8_int8": "AsymW4A8Int8Layout",
    }

    def write(folder: Path) -> None:
        import comfy_kitchen.tensor as kitchen
        import torch

        tensors, marked = plain(base()), dict[str, Any]()
        layout = getattr(kitchen, layouts[kind])
        if kind == "int8_tensorwise":
            options.setdefault("per_channel", True)
        if kind == "float8_e4m3fn":
            options.setdefault("scale", "recalculate")
        for layer in layers(base()):
            codes, params = layout.quantize(base()[f"{layer}.weight"], **options)
            parts = layout.state_dict_tensors(codes, params)
            tensors |= {f"{layer}.weight{end}": part for end, part in parts.items()}
            rotation = {"convrot": True, "convrot_groupsize": 256} if options.get("convrot") else {}
            marked[layer] = {"format": kind, **rotation}
        text = {layer: json.dumps(said).encode() for layer, said in marked.items()}
        tensors |= {f"{layer}.comfy_quant": torch.tensor(list(said), dtype=torch.uint8) for layer, said in text.items()}
        metadata = json.dumps({"format_version": "1.0", "layers": marked})
        saved(folder, tensors, {"_quantization_metadata": metadata})

    return write


def scaled_float8(folder: Path) -> None:
    """Write a model as ComfyUI's older files are."""
    import torch

    tensors = plain(base())
    tensors["scaled_fp8"] = torch.empty(2, dtype=torch.float8_e4m3fn).zero_()
    for layer in layers(base()):
        weight = base()[f"{layer}.weight"].float()
        scale = weight.abs().max() / 448
        tensors[f"{layer}.weight"] = (weight / scale).to(torch.float8_e4m3fn)
        tensors[f"{layer}.scale_weight"] = scale
        tensors[f"{layer}.scale_input"] = torch.ones(())
    saved(folder, tensors)


# Black Forest Labs and ModelOpt


def bfl_float8(folder: Path) -> None:
    from diffusers.quantizers.bfl.utils import quantize_fp8r

    tensors = plain(base())
    for layer in layers(base()):
        codes, scale = quantize_fp8r(base()[f"{layer}.weight"])
        tensors |= {f"{layer}.weight": codes, f"{layer}.weight_scale": scale}
    saved(folder, tensors)


def bfl_nvfp4(folder: Path) -> None:
    import torch
    from diffusers.quantizers.bfl.utils import quantize_nvfp4

    tensors = plain(base())
    for number, layer in enumerate(layers(base())):
        codes, blocks, scale = quantize_nvfp4(base()[f"{layer}.weight"])
        tensors |= {f"{layer}.weight": codes, f"{layer}.weight_scale": blocks, f"{layer}.weight_scale_2": scale}
        tensors[f"{layer}.input_scale"] = torch.tensor(0.003 + 0.0001 * number)
    saved(folder, tensors)


def modelopt_nvfp4(folder: Path) -> None:
    """Write the same contract as ModelOpt's export has it, with its configuration."""
    bfl_nvfp4(folder)
    said = {"quant_algo": "NVFP4", "kv_cache_quant_algo": None, "group_size": 16, "exclude_modules": ["img_in"]}
    configured(
        folder, {"producer": {"name": "modelopt", "version": "0.47.0"}, "quantization": said}, "hf_quant_config.json"
    )


def modelopt_float8(folder: Path) -> None:
    import torch

    tensors = plain(base())
    for layer in layers(base()):
        weight = base()[f"{layer}.weight"].float()
        scale = weight.abs().max() / 448
        tensors[f"{layer}.weight"] = (weight / scale).to(torch.float8_e4m3fn)
        tensors |= {f"{layer}.weight_scale": scale, f"{layer}.input_scale": torch.tensor(0.01)}
    saved(folder, tensors)
    configured(folder, {"quantization_config": {"quant_method": "modelopt", "quant_algo": "FP8"}})


# Libraries that write folders


def bitsandbytes(kind: str, *, nested: bool = False) -> Callable[[Path], None]:
    """Return what writes a model as bitsandbytes saves it."""

    def write(folder: Path) -> None:
        import bitsandbytes.functional as bnb
        import torch

        tensors = plain(base())
        for layer in layers(base()):
            weight = base()[f"{layer}.weight"]
            if kind == "int8":
                codes, scales, _ = bnb.int8_vectorwise_quant(weight.half())
                form = torch.zeros((), dtype=torch.uint8)
                tensors |= {f"{layer}.weight": codes, f"{layer}.SCB": scales, f"{layer}.weight_format": form}
                continue
            codes, state = bnb.quantize_4bit(
                weight, blocksize=64, compress_statistics=nested, quant_type=kind, quant_storage=torch.uint8
            )
            tensors[f"{layer}.weight"] = codes
            tensors |= {f"{layer}.weight.{end}": part for end, part in state.as_dict(packed=True).items()}
        saved(folder, tensors)
        said = {"load_in_8bit": True} if kind == "int8" else {"load_in_4bit": True, "bnb_4bit_quant_type": kind}
        configured(folder, {"quantization_config": {"quant_method": "bitsandbytes", **said}})

    return write


def torchao(config: str) -> Callable[[Path], None]:
    """Return what writes a model as torchao flattens it."""

    def write(folder: Path) -> None:
        import torch
        import torchao.quantization as ao
        from torchao.prototype.safetensors.safetensors_support import flatten_tensor_state_dict

        held = base()
        for layer in layers(base()):
            weight = held[f"{layer}.weight"]
            linear = torch.nn.Linear(*weight.shape[::-1], bias=False, dtype=weight.dtype)
            linear.weight = torch.nn.Parameter(weight, requires_grad=False)
            ao.quantize_(linear, getattr(ao, config)())
            held[f"{layer}.weight"] = linear.weight.data
        tensors, metadata = flatten_tensor_state_dict(held)
        saved(folder, tensors, {"format": "pt", **metadata})
        configured(folder, {"quantization_config": {"quant_method": "torchao"}})

    return write


def quanto(kind: str) -> Callable[[Path], None]:
    """Return what writes a model as optimum-quanto saves it."""

    def write(folder: Path) -> None:
        import torch
        from optimum.quanto import QLinear, qtypes

        tensors = plain(base())
        for layer in layers(base()):
            weight = base()[f"{layer}.weight"]
            linear = QLinear(*weight.shape[::-1], bias=False, dtype=weight.dtype, weights=qtypes[kind])
            linear.weight = torch.nn.Parameter(weight, requires_grad=False)
            linear.freeze()
            tensors |= {f"{layer}.{name}": tensor for name, tensor in linear.state_dict().items()}
        saved(folder, tensors)
        configured(folder, {"quantization_config": {"quant_method": "quanto", "weights_dtype": kind}})

    return write


def compressed(kind: str) -> Callable[[Path], None]:
    """Return what writes a model as compressed-tensors does: ``W4A16``, ``FP8`` or ``NVFP4A16``."""

    def write(folder: Path) -> None:
        from compressed_tensors.compressors import BaseCompressor
        from compressed_tensors.quantization import preset_name_to_scheme
        from compressed_tensors.quantization.utils import calculate_qparams

        scheme = preset_name_to_scheme(kind, ["Linear"])
        form = {"W4A16": "pack-quantized", "FP8": "float-quantized", "NVFP4A16": "nvfp4-pack-quantized"}[kind]
        compressor = BaseCompressor.get_value_from_registry(form)
        tensors, args = plain(base()), scheme.weights
        for layer in layers(base()):
            weight = base()[f"{layer}.weight"]
            group = args.group_size or weight.shape[1]
            blocks = weight.reshape(len(weight), -1, group) if args.strategy != "tensor" else weight.reshape(1, 1, -1)
            held = {"weight": weight}
            peak = None
            if kind == "NVFP4A16":
                from compressed_tensors.quantization.utils import generate_gparam

                peak = generate_gparam(weight.min().float(), weight.max().float())
                held["weight_global_scale"] = peak
            scale, _ = calculate_qparams(
                blocks.amin(-1), blocks.amax(-1), args, **({"global_scale": peak} if peak is not None else {})
            )
            held["weight_scale"] = scale if args.strategy != "tensor" else scale.reshape(1)
            tensors |= {f"{layer}.{name}": part for name, part in compressor.compress(held, scheme).items()}
        saved(folder, tensors)
        groups = {"group_0": {"targets": ["Linear"], "weights": json.loads(args.model_dump_json())}}
        said = {"quant_method": "compressed-tensors", "format": form, "config_groups": groups, "ignore": ["img_in"]}
        configured(folder, {"quantization_config": said})

    return write


def gguf(kind: str) -> Callable[[Path], None]:
    """Return what writes a model of GGUF, by the gguf package."""

    def write(folder: Path) -> None:
        from gguf import GGMLQuantizationType, GGUFWriter
        from gguf.quants import quantize

        folder.mkdir(parents=True, exist_ok=True)
        writer = GGUFWriter(folder / f"model-{kind}.gguf", "flux")
        writer.add_quantization_version(2)
        quantized = {f"{layer}.weight" for layer in layers(base())}
        for name, tensor in base().items():
            values = tensor.float().numpy()
            if name in quantized:
                found = GGMLQuantizationType[kind]
                writer.add_tensor(name, quantize(values, found), raw_dtype=found)
            else:
                writer.add_tensor(name, values.astype(np.float32 if values.ndim < 2 else np.float16))
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()

    return write


MADE: Final[dict[str, Callable[[Path], None]]] = {
    "comfy-int8": comfy("int8_tensorwise"),
    "comfy-int8-tensor": comfy("int8_tensorwise", per_channel=False, scale="recalculate"),
    "comfy-convrot": comfy("int8_tensorwise", convrot=True),
    "comfy-float8": comfy("float8_e4m3fn"),
    "comfy-mxfp8": comfy("mxfp8"),
    "comfy-nvfp4": comfy("nvfp4"),
    "comfy-w4a4": comfy("convrot_w4a4"),
    "comfy-w4a8": comfy("asym_w4a8_int8"),
    "scaled-float8": scaled_float8,
    "bfl-float8": bfl_float8,
    "bfl-nvfp4": bfl_nvfp4,
    "modelopt-nvfp4": modelopt_nvfp4,
    "modelopt-float8": modelopt_float8,
    "bnb-nf4": bitsandbytes("nf4"),
    "bnb-nf4-nested": bitsandbytes("nf4", nested=True),
    "bnb-fp4": bitsandbytes("fp4"),
    "bnb-int8": bitsandbytes("int8"),
    "torchao-int8": torchao("Int8WeightOnlyConfig"),
    "torchao-float8": torchao("Float8WeightOnlyConfig"),
    "quanto-int8": quanto("qint8"),
    "quanto-float8": quanto("qfloat8"),
    "quanto-int4": quanto("qint4"),
    "quanto-int2": quanto("qint2"),
    "compressed-w4a16": compressed("W4A16"),
    "compressed-float8": compressed("FP8"),
    "compressed-nvfp4": compressed("NVFP4A16"),
    "gguf-q8_0": gguf("Q8_0"),
    "gguf-q5_1": gguf("Q5_1"),
    "gguf-q4_0": gguf("Q4_0"),
    "gguf-mxfp4": gguf("MXFP4"),
    "plain": as_base,
}

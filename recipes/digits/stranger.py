"""Loads one published repository as somebody who knows nothing of quantpress does, and draws the prompts with it.

Needs ``HF_ENDPOINT`` and nothing of this project. A plain ``from_pretrained`` is all that it takes; only what is GGUF
or ComfyUI's is opened by ``from_single_file``, and diffusers' refusal to load bitsandbytes checkpoints without a GPU
has to be lifted, whereupon each such component goes to the CPU.

Usage: python stranger.py REPOSITORY FOLDER, where the pictures go
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import diffusers
import torch
import transformers
from comfy_kitchen.tensor import QuantizedTensor, TensorWiseINT8Layout
from diffusers.quantizers.bitsandbytes import BnB4BitDiffusersQuantizer, BnB8BitDiffusersQuantizer
from huggingface_hub import snapshot_download
from safetensors.torch import load_file

PROMPTS = Path(__file__).with_name("prompts.jsonl")
ROTATED = "*_int8_convrot.safetensors"  # ComfyUI's
CALL = {"num_inference_steps": 8, "guidance_scale": 1.0, "height": 32, "width": 32, "max_sequence_length": 8}


def load(repository: str) -> Any:
    folder = Path(snapshot_download(repository))
    index = json.loads((folder / "model_index.json").read_text())
    ready = {
        name: on_cpu(folder / name, *index[name])
        for name in index
        if not torch.cuda.is_available() and needs_gpu(folder / name / "config.json")
    }
    ready |= {name: of_blocks(folder / name, index[name][1]) for name in index if any((folder / name).glob("*.gguf"))}
    ready |= {name: of_codes(folder / name, index[name][1]) for name in index if any((folder / name).glob(ROTATED))}
    return diffusers.DiffusionPipeline.from_pretrained(repository, dtype=torch.bfloat16, **ready)


def needs_gpu(config: Path) -> bool:
    if not config.is_file():
        return False
    return json.loads(config.read_text()).get("quantization_config", {}).get("quant_method") == "bitsandbytes"


def on_cpu(folder: Path, library: str, class_name: str) -> Any:
    package = {"diffusers": diffusers, "transformers": transformers}[library]
    for quantizer in (BnB4BitDiffusersQuantizer, BnB8BitDiffusersQuantizer):
        quantizer.validate_environment = lambda *_, **__: None
    return getattr(package, class_name).from_pretrained(folder, dtype=torch.bfloat16, device_map="cpu")


def of_blocks(folder: Path, class_name: str) -> Any:
    (file,) = folder.glob("*.gguf")
    return getattr(diffusers, class_name).from_single_file(
        str(file),
        config=str(folder),
        quantization_config=diffusers.GGUFQuantizationConfig(compute_dtype=torch.bfloat16),
        dtype=torch.bfloat16,
    )


def of_codes(folder: Path, class_name: str) -> Any:
    (file,) = folder.glob(ROTATED)
    tensors = load_file(file)
    for layer in [name.removesuffix(".comfy_quant") for name in tensors if name.endswith(".comfy_quant")]:
        codes, said = tensors[f"{layer}.weight"], json.loads(bytes(tensors.pop(f"{layer}.comfy_quant")))
        told = {"orig_dtype": torch.bfloat16, "orig_shape": tuple(codes.shape), "convrot": said.get("convrot", False)}
        params = TensorWiseINT8Layout.Params(scale=tensors.pop(f"{layer}.weight_scale"), **told)
        tensors[f"{layer}.weight"] = QuantizedTensor(codes, "TensorWiseINT8Layout", params).dequantize()
    return getattr(diffusers, class_name).from_single_file(tensors, config=str(folder), dtype=torch.bfloat16)


def main() -> None:
    pipeline = load(sys.argv[1])
    pipeline.set_progress_bar_config(disable=True)
    asked = [json.loads(line)["prompt"] for line in PROMPTS.read_text().splitlines()]
    noise = [torch.Generator("cpu").manual_seed(seed) for seed in range(len(asked))]
    for number, picture in enumerate(pipeline(asked, generator=noise, **CALL).images):
        picture.save(Path(sys.argv[2]) / f"{number:02d}.png")


if __name__ == "__main__":
    main()

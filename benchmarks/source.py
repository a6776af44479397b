"""Synthetic transformers of FLUX.1-dev's layer shapes, of any size, as diffusers would have saved them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.quantize.formats import safetensors

SHARD = 10 * 10**9  # bytes; the library's own default
BLOCKS = {
    "tiny": (0, 1),
    "1": (1, 1),
    "4": (3, 6),
    "13": (14, 13),
    "24": (19, 38),
}  # GB: double and single blocks; the last one is FLUX.1-dev itself
CONFIG = {
    "_class_name": "FluxTransformer2DModel",
    "_diffusers_version": "0.42.1",
    "patch_size": 1,
    "in_channels": 64,
    "out_channels": None,
    "attention_head_dim": 128,
    "num_attention_heads": 24,
    "joint_attention_dim": 4096,
    "pooled_projection_dim": 768,
    "guidance_embeds": True,
    "axes_dims_rope": [16, 56, 56],
}


def shapes(double: int, single: int) -> dict[str, tuple[int, ...]]:
    """Return the parameters of a FluxTransformer2DModel with so many blocks; diffusers is asked, on the meta device."""
    import torch
    from diffusers import FluxTransformer2DModel

    config = {name: value for name, value in CONFIG.items() if not name.startswith("_")}
    with torch.device("meta"):
        model = FluxTransformer2DModel(**config, num_layers=double, num_single_layers=single)
    return {name: tuple(value.shape) for name, value in model.state_dict().items()}


def make_source(folder: Path, size: str) -> Path:
    """Write a transformer of about ``size`` GB in bfloat16, unless it is there."""
    if (folder / "config.json").exists():
        return folder
    folder.mkdir(parents=True, exist_ok=True)
    double, single = BLOCKS[size]
    bins: list[dict[str, Any]] = [{}]
    filled = 0
    for name, shape in shapes(double, single).items():
        count = 2 * int(np.prod(shape))
        if filled + count > SHARD:
            bins.append({})
            filled = 0
        bins[-1][name] = ("BF16", shape)
        filled += count
    weight_map = {}
    for number, tensors in enumerate(bins, start=1):
        suffix = "" if len(bins) == 1 else f"-{number:05d}-of-{len(bins):05d}"
        file = f"diffusion_pytorch_model{suffix}.safetensors"
        write_shard(folder / file, tensors)
        weight_map |= dict.fromkeys(tensors, file)
    if len(bins) > 1:
        index = {
            "metadata": {"total_size": sum(2 * int(np.prod(shape)) for part in bins for _, shape in part.values())},
            "weight_map": weight_map,
        }
        (folder / "diffusion_pytorch_model.safetensors.index.json").write_text(json.dumps(index))
    config = {**CONFIG, "num_layers": double, "num_single_layers": single}
    (folder / "config.json").write_text(json.dumps(config, indent=2))
    return folder


def write_shard(path: Path, tensors: dict[str, Any]) -> None:
    """Write tensors of normal values with a deviation of 0.02: one block of them, each time from another place."""
    values = np.random.default_rng(0).normal(0, 0.02, 1 << 24).astype(np.float32)
    bits = (values.view(np.uint32) >> 16).astype(np.uint16)
    placed = safetensors.place(tensors)
    header = safetensors.header(placed.slots, {"format": "pt"})
    with path.open("wb") as file:
        file.write(safetensors.prefix(header, safetensors.start(len(header))))
        for number, slot in enumerate(placed.slots.values()):
            left, start = (slot.end - slot.begin) // 2, number * 7919 % bits.size
            while left:
                piece = bits[start : start + left]
                file.write(piece.tobytes())
                left, start = left - piece.size, 0

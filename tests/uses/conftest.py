"""LoRAs made by the library that users make them with, for the small pipeline of random weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

ATTENTION = ("to_q", "to_k", "to_v", "to_out.0", "proj_out", "x_embedder")


def loaded(folder: Path, dtype: str) -> Any:
    import torch
    from diffusers import DiffusionPipeline

    return DiffusionPipeline.from_pretrained(folder, dtype=getattr(torch, dtype))


def make_lora(source: Path, out: Path, dtype: str, seed: int, strength: float = 1.0) -> Path:
    """Save a LoRA of random values for the transformer and CLIP, and return its file."""
    import torch
    from peft import LoraConfig
    from peft.utils import get_peft_model_state_dict

    torch.manual_seed(seed)
    pipe = loaded(source, "float32")
    pipe.transformer.add_adapter(LoraConfig(r=4, lora_alpha=8, init_lora_weights=False, target_modules=list(ATTENTION)))
    pipe.text_encoder.add_adapter(
        LoraConfig(r=2, lora_alpha=1, init_lora_weights=False, target_modules=["q_proj", "fc1"])
    )
    layers = [
        {
            name: (values * (strength if "lora_B" in name else 1)).to(getattr(torch, dtype))
            for name, values in get_peft_model_state_dict(part).items()
        }
        for part in (pipe.transformer, pipe.text_encoder)
    ]
    pipe.save_lora_weights(out, transformer_lora_layers=layers[0], text_encoder_lora_layers=layers[1])
    return out / "pytorch_lora_weights.safetensors"


@pytest.fixture(scope="session")
def full(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the small pipeline stored in float32."""
    folder = tmp_path_factory.mktemp("pipelines") / "full"
    loaded(source, "float32").save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def lora(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_lora(source, tmp_path_factory.mktemp("loras") / "strong", "float32", seed=1)

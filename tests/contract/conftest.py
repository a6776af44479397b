"""Small components of real classes, and what the libraries say of every case, asked once."""

from __future__ import annotations

from pathlib import Path

import pytest
from contract.cases import CASES, OPENED, question_of, single_file_of

from pipeline.backends.oracle.conversion import ask_ahead
from tests.desk import once


@pytest.fixture(scope="session")
def components(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One folder a component, in bfloat16, with ragged last blocks and a keep-in-float32 module among them."""
    return once(tmp_path_factory, "components", _save)


def _save(root: Path) -> None:
    import torch
    import transformers
    from diffusers import FluxTransformer2DModel, UNet2DConditionModel, ZImageTransformer2DModel

    torch.manual_seed(0)
    flux = FluxTransformer2DModel(
        patch_size=1,
        in_channels=36,
        num_layers=1,
        num_single_layers=2,
        attention_head_dim=32,
        num_attention_heads=2,
        joint_attention_dim=96,
        pooled_projection_dim=50,
        axes_dims_rope=(8, 12, 12),
    )
    unet = UNet2DConditionModel(
        sample_size=8,
        block_out_channels=(32, 64),
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        layers_per_block=1,
        cross_attention_dim=48,
        attention_head_dim=8,
        norm_num_groups=8,
    )
    t5 = transformers.T5Config(
        vocab_size=64, d_model=64, d_kv=16, d_ff=160, num_layers=2, num_heads=4, feed_forward_proj="gated-gelu"
    )
    clip = transformers.CLIPTextConfig(
        vocab_size=64, hidden_size=64, intermediate_size=96, num_hidden_layers=2, num_attention_heads=2
    )
    qwen = transformers.Qwen3Config(
        vocab_size=64,
        hidden_size=128,
        intermediate_size=256,
        head_dim=32,
        num_hidden_layers=1,
        num_attention_heads=4,
        num_key_value_heads=2,
        tie_word_embeddings=True,
        bos_token_id=0,
        eos_token_id=1,
    )
    models = {
        "transformer": flux,
        "unet": unet,
        "t5": transformers.T5EncoderModel(t5),
        "clip": transformers.CLIPTextModel(clip),
        "qwen": transformers.Qwen3ForCausalLM(qwen),
        "z-image": ZImageTransformer2DModel(  # its family has the three projections of attention in one tensor
            in_channels=4,
            dim=256,
            n_layers=1,
            n_refiner_layers=1,
            n_heads=2,
            n_kv_heads=2,
            cap_feat_dim=64,
            axes_dims=[64, 32, 32],
            axes_lens=[64, 64, 64],
        ),
    }
    for name, model in models.items():
        model.to(torch.bfloat16).save_pretrained(root / name)


@pytest.fixture(scope="session")
def answers(components: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the libraries say of all cases, asked in one process."""

    def ask(folder: Path) -> None:
        asked = [question_of(case, components / case.component) for case in (*CASES, *OPENED)]
        ask_ahead([*asked, single_file_of("z-image", components / "z-image")], folder)

    return once(tmp_path_factory, "contract-answers", ask)

"""A small model of each class of which diffusers reads single files, and those that no file can be made of."""

from __future__ import annotations

from typing import Any, Final

import torch
from families.diffusers_models import tiny_model

QUICK: Final = (
    *("QwenImageTransformer2DModel", "ZImageTransformer2DModel", "WanTransformer3DModel"),
    *("LTX2VideoTransformer3DModel", "Flux2Transformer2DModel"),
)
FIXED: Final = {"num_layers": 1, "num_single_layers": 1}  # the library's function knows a width of 3072 only
FOUR: Final = {"block_out_channels": (8, 8, 16, 16), "norm_num_groups": 4, "layers_per_block": 2}
NARROW_LTX: Final = {
    "block_out_channels": (8, 8, 16, 16),
    "decoder_block_out_channels": (8, 16, 16, 16),
    "layers_per_block": (1,) * 5,
    "decoder_layers_per_block": (1,) * 5,
    "latent_channels": 8,
}
SPECIAL: Final[dict[str, dict[str, Any]]] = {  # what no rule of tiny models knows
    "AutoencoderDC": {
        "encoder_block_types": ("ResBlock", "EfficientViTBlock"),
        "decoder_block_types": ("ResBlock", "EfficientViTBlock"),
        "encoder_block_out_channels": (32, 64),
        "decoder_block_out_channels": (32, 64),
        "encoder_layers_per_block": (1, 1),
        "decoder_layers_per_block": (1, 1),
        "encoder_qkv_multiscales": ((), (5,)),
        "decoder_qkv_multiscales": ((), (5,)),
        "upsample_block_type": "interpolate",
        "downsample_block_type": "Conv",
    },
    "AutoencoderKL": {
        **FOUR,
        "down_block_types": ("DownEncoderBlock2D",) * 4,
        "up_block_types": ("UpDecoderBlock2D",) * 4,
    },
    "AutoencoderKLLTX2Video": {
        **NARROW_LTX,
        "decoder_block_out_channels": (8, 16, 16),
        "decoder_layers_per_block": (1,) * 4,
    },
    "AutoencoderKLLTXVideo": NARROW_LTX,
    "AutoencoderKLWan": {"base_dim": 8, "z_dim": 4, "latents_mean": [0.0] * 4, "latents_std": [1.0] * 4},
    "ChromaTransformer2DModel": {**FIXED, "approximator_hidden_dim": 64, "approximator_layers": 2},
    "ControlNetModel": {**FOUR, "cross_attention_dim": 16, "attention_head_dim": 4},
    "CosmosTransformer3DModel": {
        "num_layers": 2,
        "num_attention_heads": 2,
        "attention_head_dim": 16,
        "text_embed_dim": 32,
        "adaln_lora_dim": 8,
        "max_size": (4, 8, 8),
        "extra_pos_embed_type": None,
    },
    "FluxTransformer2DModel": {**FIXED, "guidance_embeds": True},
    "HunyuanVideoTransformer3DModel": {**FIXED, "num_refiner_layers": 1},
    "Lumina2Transformer2DModel": {"num_layers": 1, "num_refiner_layers": 1},
    "MochiTransformer3DModel": {  # 48 layers, which the library's function counts on
        "num_attention_heads": 2,
        "attention_head_dim": 8,
        "text_embed_dim": 16,
        "pooled_projection_dim": 16,
        "time_embed_dim": 16,
    },
    "SD3Transformer2DModel": {
        "num_layers": 2,
        "num_attention_heads": 2,
        "attention_head_dim": 16,
        "joint_attention_dim": 32,
        "caption_projection_dim": 32,
        "pooled_projection_dim": 16,
        "dual_attention_layers": (0,),
        "qk_norm": "rms_norm",
        "pos_embed_max_size": 8,
    },
    "UNet2DConditionModel": {**FOUR, "cross_attention_dim": 16, "attention_head_dim": 4},
}
VARIANTS: Final[dict[str, tuple[str, dict[str, Any]]]] = {  # further names of a family
    "a decoder of DC-AE that shuffles": (
        "AutoencoderDC",
        {
            **SPECIAL["AutoencoderDC"],
            "upsample_block_type": "pixel_shuffle",
            "downsample_block_type": "pixel_unshuffle",
        },
    ),
    "LTX-Video 0.9.1": (
        "AutoencoderKLLTXVideo",
        {
            **NARROW_LTX,
            "decoder_spatio_temporal_scaling": (True,) * 4,
            "timestep_conditioning": True,
        },
    ),
    "SDXL": (
        "UNet2DConditionModel",
        {
            "block_out_channels": (8, 16, 16),
            "norm_num_groups": 4,
            "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
            "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
            "transformer_layers_per_block": [1, 2, 3],
            "addition_embed_type": "text_time",
            "addition_time_embed_dim": 8,
            "projection_class_embeddings_input_dim": 16,
            "use_linear_projection": True,
            "cross_attention_dim": 16,
            "attention_head_dim": 4,
        },
    ),
}
KNOWN_BY: Final = {  # what diffusers tells files of a family by, among CHECKPOINT_KEY_NAMES
    "AuraFlowTransformer2DModel": "auraflow",
    "AutoencoderDC": "autoencoder-dc-sana",
    "AutoencoderKLLTX2Video": "ltx2",
    "AutoencoderKLLTXVideo": "ltx-video",
    "AutoencoderKLWan": "wan_vae",
    "ChromaTransformer2DModel": "chroma",
    "ChronoEditTransformer3DModel": "wan",
    "ControlNetModel": "controlnet",
    "Flux2Transformer2DModel": "flux2",
    "Flux3Transformer2DModel": "flux3",
    "FluxTransformer2DModel": "flux",
    "HiDreamImageTransformer2DModel": "hidream",
    "HunyuanVideoTransformer3DModel": "hunyuan-video",
    "Krea2Transformer2DModel": "krea2",
    "LTX2VideoTransformer3DModel": "ltx2",
    "LTXVideoTransformer3DModel": "ltx-video",
    "Lumina2Transformer2DModel": "lumina2",
    "MiniMaxH3Transformer3DModel": "minimax-h3",
    "MochiTransformer3DModel": "mochi-1-preview",
    "QwenImage21Transformer2DModel": "qwen-image-2.1",
    "SD3Transformer2DModel": "sd3",
    "SkyReelsV2Transformer3DModel": "wan",
    "StableCascadeUNet": "stable_cascade_stage_b",
    "UNet2DConditionModel": "v1",
    "WanAnimateTransformer3DModel": "wan_animate",
    "WanTransformer3DModel": "wan",
    "WanVACETransformer3DModel": "wan_vace",
    "ZImageTransformer2DModel": "z-image-turbo",
}
REFUSED: Final = {
    "AutoencoderKLLTX2Audio": "reads no single file of AutoencoderKLLTX2Audio",
    "MotionAdapter": "does not make 'mid_block.motion_modules.0.transformer_blocks.0.pos_embed.pe'",
    "SanaTransformer2DModel": "takes 'pos_embed', and no tensor of a folder tells what that holds",
    "SparseControlNetModel": "does not make 'down_blocks.0.motion_modules.0.transformer_blocks.0.pos_embed.pe'",
}
SMALL: Final = {"num_layers": 1, "num_attention_heads": 2, "attention_head_dim": 16}
SMALL_WAN: Final = {**SMALL, "ffn_dim": 32, "text_dim": 16, "freq_dim": 16}
UNKNOWN: Final[
    dict[str, tuple[str, dict[str, Any], str]]
] = {  # what diffusers 0.42.1 does not take from the files there are
    "Cosmos 1.0, whose first name it looks for in a file that it has emptied": (
        "CosmosTransformer3DModel",
        {**SPECIAL["CosmosTransformer3DModel"], "extra_pos_embed_type": "learnable"},
        "learnable_pos_embed.pos_emb_t",
    ),
    "LTX-2.3": (
        "LTX2VideoTransformer3DModel",
        {
            **SMALL,
            "cross_attention_dim": 32,
            "audio_num_attention_heads": 2,
            "audio_attention_head_dim": 8,
            "audio_cross_attention_dim": 16,
            "caption_channels": 16,
            "cross_attn_mod": True,
        },
        "prompt_adaln.emb.timestep_embedder.linear_1.weight",
    ),
    "SkyReels at a rate": (
        "SkyReelsV2Transformer3DModel",
        {**SMALL_WAN, "inject_sample_info": True},
        "fps_projection.net.0.proj.weight",
    ),
    "the autoencoder of Wan 2.2": (
        "AutoencoderKLWan",
        {**SPECIAL["AutoencoderKLWan"], "is_residual": True},
        "encoder.down_blocks.0.resnets.0.norm1.gamma",
    ),
    "Wan between two pictures": (
        "WanTransformer3DModel",
        {**SMALL_WAN, "image_dim": 16, "added_kv_proj_dim": 32, "pos_embed_seq_len": 8},
        "condition_embedder.image_embedder.pos_embed",
    ),
}


def model(class_name: str, config: dict[str, Any] | None = None) -> Any:
    """Return a small model of a class, no two of whose values are likely to be the same."""
    import diffusers

    torch.manual_seed(0)
    kind, given = getattr(diffusers, class_name), SPECIAL.get(class_name) if config is None else config
    made = tiny_model(kind) if given is None else filled(kind, given)
    for tensor in made.state_dict().values():
        if tensor.is_floating_point():
            tensor.copy_(torch.randn(tensor.shape, dtype=tensor.dtype) if tensor.numel() < 1 << 22 else bits(tensor))
    return made.eval()


def filled(kind: Any, config: dict[str, Any]) -> Any:
    """Return a model without what its library begins with, which takes longest; a large one in bfloat16."""
    from accelerate import init_empty_weights

    with init_empty_weights(include_buffers=False):
        made = kind(**config)
    dtype = torch.bfloat16 if sum(part.numel() for part in made.parameters()) > 1 << 26 else torch.float32
    return made.to(dtype).to_empty(device="cpu")


def bits(tensor: torch.Tensor) -> torch.Tensor:
    """Return values of a large tensor, quickly made."""
    return torch.randint(0x3F00, 0x3FFF, tensor.shape, dtype=torch.int16).view(torch.bfloat16).to(tensor.dtype)

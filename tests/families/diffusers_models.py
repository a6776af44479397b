"""Tiny diffusers models of any class, from the defaults of its constructor with every size made small."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import Any

from families.shrinking import Rules, attempts, small

RULES: Rules = (
    (r"groups?$|groups_", 8),
    (r"cross_attention_dim_t5|text_embed|text_dim|caption|joint_attention|cross_attention_dim|pooled|encoder_hid", 64),
    (r"(key_value|kv)_(attention_)?heads", 2),
    (r"heads?$|_heads_", 4),
    (r"head_dim", 16),
    (r"axes_dims?|rope_dims?|axes_dim_rope", 4),
    (r"layers|depth|blocks?$|_blocks_|num_res|repeat", 1),
    (r"experts?", 2),
    (r"vocab|num_embed|codebook", 64),
    (r"patch|factor|ratio|stride|scale|kernel|window|rate|mults?$", 4),
    (r"sample|resolution|max_size|height|width|image_size|frames|length|tokens|max_seq|axes_lens|pos_embed", 16),
    (r"^(in|out|latent|input|output|z|conditioning|img|extra)_?channels|in_visual|out_visual|z_channels|z_dim", 8),
    (r"channels|dim|size|hidden|ch$|width|features", 64),
)
EXEMPT = frozenset({"freq_shift", "flip_sin_to_cos", "temporal_compression_ratio", "spatial_compression_ratio"})
OVERRIDES: dict[str, dict[str, Any]] = {
    "AudioLDM2ProjectionModel": {"text_encoder_dim": 32, "text_encoder_1_dim": 48, "langauge_model_dim": 64},
    "AutoencoderKLHunyuanImage": {
        "in_channels": 3,
        "out_channels": 3,
        "latent_channels": 8,
        "block_out_channels": (32, 32),
        "layers_per_block": 1,
        "spatial_compression_ratio": 2,
        "sample_size": 16,
    },
    "DreamLiteTransformer2DModel": {"in_channels": 32, "norm_num_groups": 8},
    "EasyAnimateTransformer3DModel": {"in_channels": 4, "out_channels": 4, "patch_size": 2},
    "HiDreamImageTransformer2DModel": {
        "patch_size": 2,
        "caption_channels": [48, 64],
        "llama_layers": [0],
        "in_channels": 4,
    },
    "HunyuanDiT2DControlNetModel": {"in_channels": 4, "patch_size": 2},
    "HunyuanDiT2DModel": {"in_channels": 4, "patch_size": 2},
    "Kandinsky5Transformer3DModel": {"axes_dims": (4, 6, 6), "model_dim": 64},
    "Kandinsky6Transformer3DModel": {"axes_dims": (4, 6, 6), "model_dim": 64},
    "Kandinsky6SRTransformer3DModel": {"axes_dims": (4, 6, 6), "model_dim": 64},
    "Krea2Transformer2DModel": {"axes_dims_rope": (4, 6, 6)},
    "LTX2VideoDiffusionDecoderModel": {"decoder_stage_channels": (128, 64, 32, 32, 16), "decoder_head_dim": 8},
    "LatteTransformer3DModel": {"in_channels": 4, "patch_size": 2, "caption_channels": 48, "cross_attention_dim": 64},
    "LuminaNextDiT2DModel": {"num_kv_heads": 2},
    "OmniGenTransformer2DModel": {
        "pad_token_id": 1,
        "rope_scaling": {"long_factor": [1.0] * 8, "short_factor": [1.0] * 8},
    },
    "PRXTransformer2DModel": {"axes_dim": (8, 8)},
    "StableAudioProjectionModel": {"text_encoder_dim": 32, "conditioning_dim": 48, "min_value": 0, "max_value": 8},
    "Transformer2DModel": {"in_channels": 32, "norm_num_groups": 8},
    "TransformerTemporalModel": {"in_channels": 32, "norm_num_groups": 8},
    "UniDiffuserModel": {
        "in_channels": 4,
        "out_channels": 4,
        "patch_size": 2,
        "sample_size": 16,
        "norm_type": "layer_norm",
    },
    "UniDiffuserTextDecoder": {"prefix_length": 4, "prefix_inner_dim": 32, "prefix_hidden_dim": 32, "n_embd": 64},
    "WanAnimateTransformer3DModel": {"in_channels": 20, "latent_channels": 8},
    "WanVACETransformer3DModel": {"num_layers": 2, "vace_layers": [0]},
    "ZImageTransformer2DModel": {"axes_dims": [4, 6, 6], "axes_lens": [16, 16, 16]},
    "ZImageControlNetModel": {"control_layers_places": [0], "control_refiner_layers_places": [0], "control_in_dim": 8},
    "ControlNetUnionModel": {
        "addition_time_embed_dim": 8,
        "projection_class_embeddings_input_dim": 64,
        "num_control_type": 2,
    },
}


def tiny_arguments(cls: Any, rules: Rules) -> dict[str, Any]:
    """Return the arguments that make a small model of a class."""
    parameters = list(inspect.signature(cls.__init__).parameters.values())[1:]
    defaults = {part.name: part.default for part in parameters if part.default is not part.empty}
    found = {name: small(name, value, rules, EXEMPT) for name, value in defaults.items()}
    changed = {name: value for name, value in found.items() if value != defaults[name]}
    return {**changed, **OVERRIDES.get(cls.__name__, {})}


def classes() -> Iterator[tuple[str, Any]]:
    """Yield every model class that diffusers exports."""
    import diffusers
    from diffusers.models.modeling_utils import ModelMixin

    for name in sorted({name for names in diffusers._import_structure.values() for name in names}):
        cls = getattr(diffusers, name, None)
        if isinstance(cls, type) and issubclass(cls, ModelMixin) and cls is not ModelMixin:
            yield name, cls


def tiny_model(cls: Any) -> Any:
    """Return a small model of a class.

    Raises:
        Exception: Whatever its constructor raises.
    """
    return attempts(RULES, lambda rules: tiny_arguments(cls, rules), lambda arguments: cls(**arguments))

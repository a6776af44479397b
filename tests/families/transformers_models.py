"""Tiny transformers models of any class, from the library's own configuration classes with every size made small."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

from families.shrinking import Rules, attempts, small

RULES: Rules = (
    (r"_token_id$|_token_index$|_id$|_index$|^(bos|eos|pad|sep|cls|mask)_token", 1),
    (r"vocab|num_embeddings$|codebook_size|num_codes|n_codes|num_buckets$|_bins$", 64),
    (r"kernel", 3),
    (r"stride|dilation|padding|downsample|upsample|group_size|ratio|factor|_rate|rates|window", 4),
    (r"(key_value|kv)_heads|multi_query_group_num|num_kv", 2),
    (r"heads?$|^n_head|_heads_|^num_attention_heads|num_head", 4),
    (r"experts_per|top_?k|topk|n_group$|num_selected", 2),
    (r"expert", 4),
    (r"layers?$|depths?$|^n_layer|num_blocks|_blocks$|num_hidden|^n_block|num_stages|num_layers|_layers_", 2),
    (r"lora_rank|qk_.*head_dim|v_head_dim|qk_.*dim|_rank$", 16),
    (r"head_dim|^d_kv$|head_size|kv_channels|dim_head", 16),
    (r"image_size|input_size|resolution|img_size|sample_size", 32),
    (r"patch", 8),
    (r"frames|tubelet|num_channels|in_channels|input_channels", 4),
    (r"position|max_.*len|seq_len|_length|context|window", 64),
    (r"groups?$", 2),
    (r"queries|num_query|tokens|_slots|num_", 8),
    (r"intermediate|ffn|inner|feed_?forward|_ff$|^d_ff|mlp|d_inner", 96),
    (r"size|dim|width|channels|hidden|embed|^d_|^n_|features|units|filters", 64),
)
EXEMPT = frozenset({"output_size", "num_labels", "chunk_size_feed_forward", "num_coords"})
OVERRIDES: dict[str, dict[str, Any]] = {
    "AutoformerConfig": {"prediction_length": 4},
    "InformerConfig": {"prediction_length": 4},
    "TimeSeriesTransformerConfig": {"prediction_length": 4},
    "ChameleonConfig": {"vocabulary_map": {"<image>": 3}},
    "Cosmos3EdgeTextConfig": {"head_dim": 128},
    "Dots1Config": {"n_routed_experts": 4, "n_shared_experts": 1},
    "Emu3Config": {"vocabulary_map": {"<image>": 3}},
    "Ernie4_5_VLMoeTextConfig": {"hidden_size": 256, "num_attention_heads": 2, "num_key_value_heads": 1},
    "EsmConfig": {"vocab_size": 33, "pad_token_id": 1},
    "GPTNeoConfig": {"attention_types": [[["global", "local"], 1]]},
    "Glm5NextTextConfig": {"num_key_value_heads": 4},
    "HunYuanDenseV1Config": {"head_dim": 16},
    "HunYuanMoEV1Config": {"head_dim": 16},
    "HunYuanVLTextConfig": {"head_dim": 16},
    "Lfm2MoeConfig": {"layer_types": ["conv", "full_attention"]},
    "MinistralConfig": {"head_dim": 16},
    "NemotronConfig": {"num_key_value_heads": 2},
    "Zamba2Config": {"layers_block_type": ["mamba", "hybrid"]},
}


def tiny_config(config_class: Any, rules: Rules) -> Any:
    """Return a config of a class with small sizes, its sub-configs included."""
    default = config_class()
    found: dict[str, Any] = {}
    for field in dataclasses.fields(config_class):
        value = field.default
        if field.default_factory is not dataclasses.MISSING:
            value = field.default_factory()
        held = vars(default).get(field.name)
        if hasattr(held, "to_dict"):
            found[field.name] = tiny_config(type(held), rules).to_dict()
        elif (
            field.init
            and value is not dataclasses.MISSING
            and (made := small(field.name, value, rules, EXEMPT)) != value
        ):
            found[field.name] = made
    return config_class(**{**found, **OVERRIDES.get(config_class.__name__, {})})


def classes() -> Iterator[tuple[str, Any]]:
    """Yield every model class that transformers exports for loading, except those that differ only in a task's head."""
    import transformers
    from transformers import PreTrainedModel

    for name in sorted({name for names in transformers._import_structure.values() for name in names}):
        if any(part in name for part in ("Config", "Tokenizer", "Processor", "Pipeline", "PreTrained")):
            continue
        try:
            cls = getattr(transformers, name, None)
        except Exception:  # noqa: S112  a library that the class wants is missing
            continue
        if isinstance(cls, type) and issubclass(cls, PreTrainedModel) and getattr(cls, "config_class", None):
            yield name, cls


def tiny_model(cls: Any) -> Any:
    """Return a small model of a class.

    Raises:
        Exception: Whatever its constructor raises.
    """
    return attempts(RULES, lambda rules: tiny_config(cls.config_class, rules), cls)

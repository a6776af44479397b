"""Models of transformers in llama.cpp's names: which tensors of a file theirs are, and what its header says of them.

The names are those of the gguf package's ``get_tensor_name_map``, and the keys those of its specification (ggml's
``docs/gguf.md``); transformers reads both by ``gguf_file=``, and llama.cpp by itself. A model of which a file cannot
tell all that its answers depend on is refused by name.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from pipeline.backends.gguf import vocabulary
from pipeline.backends.oracle.single_file import FileTensor, Rows, SingleFile
from pipeline.errors import RecipeError, SourceError

Shape = tuple[int, ...]
OTHERWISE: Final = "Choose another backend for this component."

DECODER: Final = {  # modules of transformers, without the model's own name before them, beside those of llama.cpp
    "embed_tokens": "token_embd",
    "norm": "output_norm",
    "lm_head": "output",
    "layers.{}.input_layernorm": "blk.{}.attn_norm",
    "layers.{}.self_attn.q_proj": "blk.{}.attn_q",
    "layers.{}.self_attn.k_proj": "blk.{}.attn_k",
    "layers.{}.self_attn.v_proj": "blk.{}.attn_v",
    "layers.{}.self_attn.o_proj": "blk.{}.attn_output",
    "layers.{}.post_attention_layernorm": "blk.{}.ffn_norm",
    "layers.{}.mlp.gate_proj": "blk.{}.ffn_gate",
    "layers.{}.mlp.up_proj": "blk.{}.ffn_up",
    "layers.{}.mlp.down_proj": "blk.{}.ffn_down",
}
NORMED: Final = {
    "layers.{}.self_attn.q_norm": "blk.{}.attn_q_norm",
    "layers.{}.self_attn.k_norm": "blk.{}.attn_k_norm",
}
ENCODER: Final = {
    "shared": "token_embd",
    "encoder.final_layer_norm": "enc.output_norm",
    "encoder.block.{}.layer.0.layer_norm": "enc.blk.{}.attn_norm",
    "encoder.block.{}.layer.0.SelfAttention.q": "enc.blk.{}.attn_q",
    "encoder.block.{}.layer.0.SelfAttention.k": "enc.blk.{}.attn_k",
    "encoder.block.{}.layer.0.SelfAttention.v": "enc.blk.{}.attn_v",
    "encoder.block.{}.layer.0.SelfAttention.o": "enc.blk.{}.attn_o",
    "encoder.block.{}.layer.0.SelfAttention.relative_attention_bias": "enc.blk.{}.attn_rel_b",
    "encoder.block.{}.layer.1.layer_norm": "enc.blk.{}.ffn_norm",
    "encoder.block.{}.layer.1.DenseReluDense.wi_0": "enc.blk.{}.ffn_gate",
    "encoder.block.{}.layer.1.DenseReluDense.wi_1": "enc.blk.{}.ffn_up",
    "encoder.block.{}.layer.1.DenseReluDense.wo": "enc.blk.{}.ffn_down",
}


def decoder_keys(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a header says of a model that continues texts, without the architecture before each key."""
    rope = config.get("rope_parameters") or config.get("rope_scaling") or {}
    heads = config["num_attention_heads"]
    width = config.get("head_dim") or config["hidden_size"] // heads
    return {
        "block_count": config["num_hidden_layers"],
        "context_length": config["max_position_embeddings"],
        "embedding_length": config["hidden_size"],
        "feed_forward_length": config["intermediate_size"],
        "attention.head_count": heads,
        "attention.head_count_kv": config.get("num_key_value_heads") or heads,
        "attention.key_length": width,
        "attention.value_length": width,
        "attention.layer_norm_rms_epsilon": float(config.get("rms_norm_eps", 1e-6)),
        "rope.dimension_count": width,
        "rope.freq_base": float(rope.get("rope_theta") or config.get("rope_theta") or 10_000),
        "vocab_size": config["vocab_size"],
    }


def encoder_keys(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a header says of T5's encoder, likewise."""
    epsilon = float(config.get("layer_norm_epsilon", 1e-6))
    return {
        "block_count": config["num_layers"],
        "context_length": config.get("n_positions", 512),
        "embedding_length": config["d_model"],
        "feed_forward_length": config["d_ff"],
        "attention.head_count": config["num_heads"],
        "attention.key_length": config["d_kv"],
        "attention.value_length": config["d_kv"],
        "attention.layer_norm_epsilon": epsilon,
        "attention.layer_norm_rms_epsilon": epsilon,
        "attention.relative_buckets_count": config.get("relative_attention_num_buckets", 32),
        "vocab_size": config["vocab_size"],
    }


def rotation(config: Mapping[str, Any]) -> str:
    """Return how positions are stretched; ``default`` where they are not."""
    rope = config.get("rope_parameters") or config.get("rope_scaling") or {}
    return str(rope.get("rope_type") or rope.get("type") or "default")


@dataclass(frozen=True)
class Architecture:
    """A kind of model that llama.cpp knows.

    Attributes:
        name: How llama.cpp calls it.
        modules: Its modules' names by those of transformers; ``{}`` stands for the number of a layer.
        keys: What a header says of it, from its config.
        fixed: What must be so, since a header cannot say otherwise: by its name a value, and what finds it in a config.
        turned: Whether the two halves of each head of queries and keys take turns, as llama.cpp rotates them.
        called: What the header calls the model, where transformers goes by it.
    """

    name: str
    modules: Mapping[str, str]
    keys: Callable[[Mapping[str, Any]], dict[str, Any]]
    fixed: Mapping[str, tuple[Any, Callable[[Mapping[str, Any]], Any]]] = field(default_factory=dict)
    turned: bool = False
    called: str = ""


DECODING: Final = {
    "rope_type": ("default", rotation),
    "hidden_act": ("silu", lambda config: config.get("hidden_act", "silu")),
    "use_sliding_window": (False, lambda config: bool(config.get("use_sliding_window", False))),
}
ENCODING: Final = {
    "feed_forward_proj": ("gated-gelu", lambda config: config.get("feed_forward_proj", "relu")),
    "relative_attention_max_distance": (128, lambda config: config.get("relative_attention_max_distance", 128)),
}
LLAMA: Final = Architecture("llama", DECODER, decoder_keys, DECODING, turned=True)
QWEN2: Final = Architecture("qwen2", DECODER, decoder_keys, DECODING)
QWEN3: Final = Architecture("qwen3", {**DECODER, **NORMED}, decoder_keys, DECODING)
ARCHITECTURES: Final = {
    "LlamaForCausalLM": LLAMA,
    "Qwen2ForCausalLM": QWEN2,
    "Qwen3ForCausalLM": QWEN3,
    "Qwen3Model": QWEN3,
    "T5EncoderModel": Architecture("t5encoder", ENCODER, encoder_keys, ENCODING),
    "UMT5EncoderModel": Architecture("t5encoder", ENCODER, encoder_keys, ENCODING, called="umt5"),
}


def laid_out(
    class_name: str, config: Mapping[str, Any], shapes: Mapping[str, Shape], read: vocabulary.Read
) -> SingleFile:
    """Return how a component of transformers lies in a file of llama.cpp's.

    Args:
        class_name: Its class.
        config: Its ``config.json``.
        shapes: The shape of each tensor that is written, by its name in transformers.
        read: Returns a file of its tokenizer by its name; None where there is none.

    Raises:
        RecipeError: llama.cpp's names of such a model, or of its tokenizer, are not known, or it differs from those.
        SourceError: Its config lacks something.
    """
    known = architecture(class_name)
    for name, (needed, found) in known.fixed.items():
        if (said := found(config)) != needed:
            what = f"A GGUF of {known.name} has {name} {needed!r}, and this {class_name} has {said!r}."
            raise RecipeError(what, remedy=OTHERWISE)
    keys = keys_of(class_name, config)
    told = {
        "general.architecture": known.name,
        "general.type": "model",
        **({"general.name": known.called} if known.called else {}),
        **{f"{known.name}.{key}": value for key, value in keys.items()},
        **vocabulary.keys(read, keys["vocab_size"]),
    }
    return SingleFile(tensors=tensors_of(class_name, config, shapes), keys=told)


def architecture(class_name: str) -> Architecture:
    """Return what is known of a class.

    Raises:
        RecipeError: It is nothing.
    """
    if class_name not in ARCHITECTURES:
        what = f"Of {class_name}, llama.cpp's names are not known; they are of {', '.join(ARCHITECTURES)}."
        raise RecipeError(what, remedy=OTHERWISE)
    return ARCHITECTURES[class_name]


def keys_of(class_name: str, config: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a header says of a model.

    Raises:
        SourceError: Its config lacks something.
    """
    try:
        return architecture(class_name).keys(config)
    except KeyError as error:
        raise SourceError(f"The config of {class_name} has no {error.args[0]}.") from error


def tensors_of(class_name: str, config: Mapping[str, Any], shapes: Mapping[str, Shape]) -> dict[str, FileTensor]:
    """Return the tensors of a file by llama.cpp's names, each with the rows that it is made of.

    Raises:
        RecipeError: llama.cpp's names of such a model are not known.
        SourceError: Its config lacks something.
    """
    known, keys, tensors = architecture(class_name), keys_of(class_name, config), {}
    heads = {"attn_q": keys["attention.head_count"], "attn_k": keys.get("attention.head_count_kv", 0)}
    for name, shape in shapes.items():
        target = named(known, class_name, name)
        turns = heads.get(target.split(".")[-2], 0) if known.turned else 0
        tensors[target] = FileTensor(shape=shape, rows=tuple(rows_of(name, (shape or (1,))[0], turns)))
    return tensors


def named(known: Architecture, class_name: str, name: str) -> str:
    """Return llama.cpp's name of a tensor.

    Raises:
        RecipeError: It has none.
    """
    module, _, leaf = name.rpartition(".")
    number = re.search(r"\.(\d+)\.", f"{module}.")
    module = module.removeprefix("model.")
    pattern = module.replace(f".{number[1]}.", ".{}.", 1) if number else module
    if pattern not in known.modules:
        what = f"llama.cpp has no name for {name!r} of {class_name}."
        raise RecipeError(what, remedy=OTHERWISE)
    return f"{known.modules[pattern].format(number[1] if number else '')}.{leaf}"


def rows_of(name: str, length: int, heads: int) -> Iterator[Rows]:
    """Yield what a tensor of the file is made of: the whole tensor, or of each head a row of either half in turn."""
    if not heads:
        yield Rows(tensor=name, start=0, stop=length)
        return
    width = length // heads
    for head in range(0, length, width):
        for place in range(width // 2):
            for row in (head + place, head + width // 2 + place):
                yield Rows(tensor=name, start=row, stop=row + 1)

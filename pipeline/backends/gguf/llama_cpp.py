"""Models of transformers in llama.cpp's names: which tensors of a file theirs are, and what its header says of them.

The names are those of the gguf package's ``get_tensor_name_map``, and the keys those of its specification (ggml's
``docs/gguf.md``); transformers reads both by ``gguf_file=``, and llama.cpp by itself. A model of which a file cannot
tell all that its answers depend on is refused by name.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from math import pi
from typing import Any, Final, TypeVar

from pipeline.backends.gguf import vocabulary
from pipeline.backends.oracle.single_file import FileTensor, Rows, SingleFile
from pipeline.errors import RecipeError, SourceError

Shape = tuple[int, ...]
Read = TypeVar("Read")
OTHERWISE: Final = "Choose another backend for this component."
STRETCHED: Final = "llama3"  # how Llama 3.1 and later stretch positions
WINDOW: Final = 4096  # tokens that a Mistral sees whose config does not say
FACTORS: Final = "rope_freqs.weight"  # by which llama.cpp slows turns

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
        "rope.freq_base": turning(config),
        "vocab_size": config["vocab_size"],
    }


def windowed_keys(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a header says of a model that looks back through a window: the texts that it sees whole.

    llama.cpp's ``llama`` has no window, and answers otherwise to texts that are longer.
    """
    keys = decoder_keys(config)
    seen = config.get("sliding_window", WINDOW) or keys["context_length"]
    return {**keys, "context_length": min(keys["context_length"], seen)}


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


def turns(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return what a config says of how heads turn with the position."""
    return config.get("rope_parameters") or config.get("rope_scaling") or {}


def turning(config: Mapping[str, Any]) -> float:
    """Return the base of the wavelengths by which heads turn."""
    return float(turns(config).get("rope_theta") or config.get("rope_theta") or 10_000)


def rotation(config: Mapping[str, Any]) -> str:
    """Return how positions are stretched; ``default`` where they are not."""
    return str(turns(config).get("rope_type") or turns(config).get("type") or "default")


def stretched(config: Mapping[str, Any]) -> tuple[float, ...]:
    """Return by what the turns of each pair of a head's values are slowed, as Llama 3.1 stretches positions.

    Waves that came round often enough in the texts of the first training keep their length, those that hardly did get
    the whole factor, and between them it grows with the wavelength.
    """
    told, width = turns(config), decoder_keys(config)["rope.dimension_count"]
    factor, low, high = (float(told[name]) for name in ("factor", "low_freq_factor", "high_freq_factor"))
    found = []
    for place in range(0, width, 2):
        wavelength = 2 * pi * turning(config) ** (place / width)
        rounds = told["original_max_position_embeddings"] / wavelength
        share = min(max((rounds - low) / (high - low), 0.0), 1.0)
        found.append(1 / (share + (1 - share) / factor))
    return tuple(found)


@dataclass(frozen=True)
class Architecture:
    """A kind of model that llama.cpp knows.

    Attributes:
        name: How llama.cpp calls it.
        modules: Its modules' names by those of transformers; ``{}`` stands for the number of a layer.
        keys: What a header says of it, from its config.
        fixed: What must be so, since a header cannot say otherwise: by its name the values that it may have, and what
            finds it in a config.
        turned: Whether the two halves of each head of queries and keys take turns, as llama.cpp rotates them.
        called: What the header calls the model, where transformers goes by it.
    """

    name: str
    modules: Mapping[str, str]
    keys: Callable[[Mapping[str, Any]], dict[str, Any]]
    fixed: Mapping[str, tuple[tuple[Any, ...], Callable[[Mapping[str, Any]], Any]]] = field(default_factory=dict)
    turned: bool = False
    called: str = ""


DECODING: Final = {
    "rope_type": (("default",), rotation),
    "hidden_act": (("silu",), lambda config: config.get("hidden_act", "silu")),
    "use_sliding_window": ((False,), lambda config: bool(config.get("use_sliding_window", False))),
}
ENCODING: Final = {
    "feed_forward_proj": (("gated-gelu",), lambda config: config.get("feed_forward_proj", "relu")),
    "relative_attention_max_distance": ((128,), lambda config: config.get("relative_attention_max_distance", 128)),
}
STRETCHING: Final = {**DECODING, "rope_type": (("default", STRETCHED), rotation)}
LLAMA: Final = Architecture("llama", DECODER, decoder_keys, STRETCHING, turned=True)
MISTRAL: Final = Architecture("llama", DECODER, windowed_keys, DECODING, turned=True)
QWEN2: Final = Architecture("qwen2", DECODER, decoder_keys, DECODING)
QWEN3: Final = Architecture("qwen3", {**DECODER, **NORMED}, decoder_keys, DECODING)
ARCHITECTURES: Final = {
    "LlamaForCausalLM": LLAMA,
    "MistralForCausalLM": MISTRAL,
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
        if (said := found(config)) not in needed:
            either = " or ".join(map(repr, needed))
            what = f"A GGUF of {known.name} has {name} {either}, and this {class_name} has {said!r}."
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
    return read_of(class_name, config, architecture(class_name).keys)


def read_of(class_name: str, config: Mapping[str, Any], read: Callable[[Mapping[str, Any]], Read]) -> Read:
    """Return what is read of a config.

    Raises:
        SourceError: It lacks something.
    """
    try:
        return read(config)
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
        halves = heads.get(target.split(".")[-2], 0) if known.turned else 0
        tensors[target] = FileTensor(shape=shape, rows=tuple(rows_of(name, (shape or (1,))[0], halves)))
    if rotation(config) == STRETCHED:
        values = read_of(class_name, config, stretched)
        tensors[FACTORS] = FileTensor(shape=(len(values),), rows=(), values=values)
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
        yield Rows(tensor=name, start=head, stop=head + width, parts=2)

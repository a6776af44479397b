"""Models of transformers in llama.cpp's names: which tensors of a file theirs are, and what its header says of them.

The names are those of the gguf package's ``get_tensor_name_map``, and the keys those of its specification (ggml's
``docs/gguf.md``); transformers reads both by ``gguf_file=``, and llama.cpp by itself. A model of which a file cannot
tell all that its answers depend on is refused by name.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from math import pi
from typing import Any, Final

from pipeline.backends.gguf import vocabulary
from pipeline.backends.gguf.given import Count, Ending, Given, Number, Positive, read_as
from pipeline.backends.oracle.single_file import FileTensor, Rows, SingleFile
from pipeline.errors import RecipeError, SourceError
from pipeline.source.strict import WHOLE

Shape = tuple[int, ...]
OTHERWISE: Final = "Choose another backend for this component."
STRETCHED: Final = "llama3"  # how Llama 3.1 and later stretch positions
CONTINUES: Final = "ForCausalLM"  # ends the name of a class that continues texts
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


class Turns(Given):
    """What a config says of how heads turn with the position."""

    rope_type: str = ""
    type: str = ""
    rope_theta: Positive | None = None
    partial_rotary_factor: Number | None = None
    factor: Positive | None = None
    low_freq_factor: Positive | None = None
    high_freq_factor: Positive | None = None
    original_max_position_embeddings: Count | None = None


class Decoder(Ending):
    """The config of a model that continues texts."""

    num_attention_heads: Count
    hidden_size: Count
    head_dim: Count | None = None
    num_hidden_layers: Count
    max_position_embeddings: Count
    intermediate_size: Count
    num_key_value_heads: Count | None = None
    rms_norm_eps: Number = 1e-6
    vocab_size: Count
    rope_parameters: dict[str, Any] | None = None
    rope_scaling: dict[str, Any] | None = None
    rope_theta: Positive | None = None
    partial_rotary_factor: Number | None = None
    hidden_act: str = "silu"
    attention_bias: bool = False
    use_sliding_window: bool = False
    sliding_window: Count | None = WINDOW

    @cached_property
    def turns(self) -> Turns:
        """How its heads turn; what stands in ``rope_scaling`` counts more, as transformers has it.

        Raises:
            RecipeError: Each kind of layer turns by its own.
            SourceError: It is not readable.
        """
        said = self.rope_scaling or self.rope_parameters or {}
        if any(isinstance(value, dict) for value in said.values()):
            what = f"A GGUF has one way to turn heads, and this config has one for each of {', '.join(said)}."
            raise RecipeError(what, remedy=OTHERWISE)
        return read_as(Turns, said, "What config.json says of positions")

    @property
    def rope_type(self) -> str:
        """How positions are stretched; ``default`` where they are not."""
        return self.turns.rope_type or self.turns.type or "default"

    @property
    def turning(self) -> float:
        """The base of the wavelengths by which heads turn."""
        return self.turns.rope_theta or self.rope_theta or 10_000.0

    @property
    def keys(self) -> dict[str, Any]:
        """What a header says of it, without the architecture before each key."""
        width = self.head_dim or self.hidden_size // self.num_attention_heads
        return {
            "block_count": self.num_hidden_layers,
            "context_length": self.max_position_embeddings,
            "embedding_length": self.hidden_size,
            "feed_forward_length": self.intermediate_size,
            "attention.head_count": self.num_attention_heads,
            "attention.head_count_kv": self.num_key_value_heads or self.num_attention_heads,
            "attention.key_length": width,
            "attention.value_length": width,
            "attention.layer_norm_rms_epsilon": self.rms_norm_eps,
            "rope.dimension_count": width,
            "rope.freq_base": self.turning,
            "vocab_size": self.vocab_size,
        }

    @property
    def slowed(self) -> tuple[float, ...]:
        """By what the turns of each pair of a head's values are slowed, as Llama 3.1 stretches positions; else nothing.

        Waves that came round often enough in the texts of the first training keep their length, those that hardly did
        get the whole factor, and between them it grows with the wavelength.

        Raises:
            RecipeError: A part of each head does not turn.
            SourceError: The config does not say how far.
        """
        if self.rope_type != STRETCHED:
            return ()
        if (share := self.turns.partial_rotary_factor or self.partial_rotary_factor or 1.0) != 1.0:
            raise RecipeError(f"A GGUF of llama turns whole heads, and this config {share} of each.", remedy=OTHERWISE)
        told, width = self.turns, self.keys["rope.dimension_count"]
        factor, low, high, seen = (
            told.factor, told.low_freq_factor, told.high_freq_factor, told.original_max_position_embeddings,
        )  # fmt: skip
        if not (factor and low and high and seen and low < high):
            what = f"What config.json says of positions is not readable: {STRETCHED} wants factor, low_freq_factor, "
            raise SourceError(f"{what}a larger high_freq_factor and original_max_position_embeddings.", remedy=WHOLE)
        found = []
        for place in range(0, width, 2):
            rounds = seen / (2 * pi * self.turning ** (place / width))
            share = min(max((rounds - low) / (high - low), 0.0), 1.0)
            found.append(1 / (share + (1 - share) / factor))
        return tuple(found)


class Windowed(Decoder):
    """The config of a model that looks back through a window.

    llama.cpp's ``llama`` has no window, and answers otherwise to texts that are longer, so its header tells the texts
    that are seen whole.
    """

    @property
    def keys(self) -> dict[str, Any]:
        """What a header says of it, likewise."""
        keys = super().keys
        return {**keys, "context_length": min(keys["context_length"], self.sliding_window or keys["context_length"])}


class Encoder(Ending):
    """The config of T5's encoder."""

    num_layers: Count
    n_positions: Count = 512
    d_model: Count
    d_ff: Count
    num_heads: Count
    d_kv: Count
    layer_norm_epsilon: Number = 1e-6
    relative_attention_num_buckets: Count = 32
    relative_attention_max_distance: Count = 128
    feed_forward_proj: str = "relu"
    vocab_size: Count
    slowed: tuple[float, ...] = ()

    @property
    def keys(self) -> dict[str, Any]:
        """What a header says of it, likewise."""
        return {
            "block_count": self.num_layers,
            "context_length": self.n_positions,
            "embedding_length": self.d_model,
            "feed_forward_length": self.d_ff,
            "attention.head_count": self.num_heads,
            "attention.key_length": self.d_kv,
            "attention.value_length": self.d_kv,
            "attention.layer_norm_epsilon": self.layer_norm_epsilon,
            "attention.layer_norm_rms_epsilon": self.layer_norm_epsilon,
            "attention.relative_buckets_count": self.relative_attention_num_buckets,
            "vocab_size": self.vocab_size,
        }


@dataclass(frozen=True)
class Architecture:
    """A kind of model that llama.cpp knows.

    Attributes:
        name: How llama.cpp calls it.
        modules: Its modules' names by those of transformers; ``{}`` stands for the number of a layer.
        config: What is read of its config.
        fixed: What must be so, since a header cannot say otherwise: values that the config may have by their names.
        turned: Whether the two halves of each head of queries and keys take turns, as llama.cpp rotates them.
        called: What the header calls the model, where transformers goes by it.
    """

    name: str
    modules: Mapping[str, str]
    config: type[Decoder | Encoder]
    fixed: Mapping[str, tuple[Any, ...]]
    turned: bool = False
    called: str = ""


DECODING: Final = {"rope_type": ("default",), "hidden_act": ("silu",), "use_sliding_window": (False,)}
ENCODING: Final = {"feed_forward_proj": ("gated-gelu",), "relative_attention_max_distance": (128,)}
LLAMA: Final = Architecture("llama", DECODER, Decoder, {**DECODING, "rope_type": ("default", STRETCHED)}, turned=True)
MISTRAL: Final = Architecture("llama", DECODER, Windowed, DECODING, turned=True)
QWEN2: Final = Architecture("qwen2", DECODER, Decoder, DECODING)
QWEN3: Final = Architecture("qwen3", {**DECODER, **NORMED}, Decoder, {**DECODING, "attention_bias": (False,)})
ARCHITECTURES: Final = {
    "LlamaForCausalLM": LLAMA,
    "MistralForCausalLM": MISTRAL,
    "Qwen2ForCausalLM": QWEN2,
    "Qwen3ForCausalLM": QWEN3,
    "Qwen3Model": QWEN3,
    "T5EncoderModel": Architecture("t5encoder", ENCODER, Encoder, ENCODING),
    "UMT5EncoderModel": Architecture("t5encoder", ENCODER, Encoder, ENCODING, called="umt5"),
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
        SourceError: Its config, or a file of its tokenizer, lacks something or is not readable.
    """
    known, held = architecture(class_name), config_of(class_name, config)
    for name, needed in known.fixed.items():
        if (said := getattr(held, name)) not in needed:
            either = " or ".join(map(repr, needed))
            what = f"A GGUF of {known.name} has {name} {either}, and this {class_name} has {said!r}."
            raise RecipeError(what, remedy=OTHERWISE)
    keys = held.keys
    told = {
        "general.architecture": known.name,
        "general.type": "model",
        **({"general.name": known.called} if known.called else {}),
        **{f"{known.name}.{key}": value for key, value in keys.items()},
        **vocabulary.keys(read, keys["vocab_size"], held if class_name.endswith(CONTINUES) else None),
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


def config_of(class_name: str, config: Mapping[str, Any]) -> Decoder | Encoder:
    """Return what is read of a model's config.

    Raises:
        RecipeError: llama.cpp's names of such a model are not known.
        SourceError: It lacks something, or is not readable.
    """
    return read_as(architecture(class_name).config, config, f"The config of {class_name}")


def tensors_of(class_name: str, config: Mapping[str, Any], shapes: Mapping[str, Shape]) -> dict[str, FileTensor]:
    """Return the tensors of a file by llama.cpp's names, each with the rows that it is made of.

    Raises:
        RecipeError: llama.cpp's names of such a model are not known.
        SourceError: Its config lacks something, is not readable, or tells of other heads than there are.
    """
    known, held, tensors = architecture(class_name), config_of(class_name, config), {}
    keys = held.keys
    heads = {"attn_q": keys["attention.head_count"], "attn_k": keys.get("attention.head_count_kv", 0)}
    for name, shape in shapes.items():
        target = named(known, class_name, name)
        rows, halves = (shape or (1,))[0], heads.get(target.split(".")[-2], 0)
        if halves and rows != halves * keys["attention.key_length"]:
            told = f"{halves} heads of {keys['attention.key_length']}"
            raise SourceError(
                f"The config of {class_name} tells of {told}, and {name!r} has {rows} rows.", remedy=WHOLE
            )
        tensors[target] = FileTensor(shape=shape, rows=tuple(rows_of(name, rows, halves if known.turned else 0)))
    if values := held.slowed:
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

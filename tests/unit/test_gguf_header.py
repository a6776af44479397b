"""What a GGUF of a language model says in its header, and what of a config or a tokenizer it cannot say."""

from __future__ import annotations

import json
from typing import Any

import pytest

from pipeline.backends.gguf.llama_cpp import laid_out
from pipeline.errors import PublishError

CONFIG = {"num_attention_heads": 2, "num_key_value_heads": 2, "hidden_size": 16, "num_hidden_layers": 1,
          "max_position_embeddings": 8, "intermediate_size": 8, "vocab_size": 10}  # fmt: skip
MODEL = {
    "model": {"type": "BPE", "vocab": {"a": 0, "b": 1, "ab": 2}, "merges": ["a b"]},
    "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": False, "use_regex": True},
    "added_tokens": [{"id": 3, "content": "<e>", "special": True}],
}
FILES: dict[str, Any] = {"tokenizer.json": MODEL, "tokenizer_config.json": {"eos_token": "<e>"}}
LINEAR = {"rope_type": "linear", "factor": 8.0}
LLAMA3 = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
          "original_max_position_embeddings": 32}  # fmt: skip


def header(config: dict[str, Any], files: dict[str, Any], name: str = "LlamaForCausalLM") -> dict[str, Any]:
    shapes = {"model.layers.0.self_attn.q_proj.weight": (16, 16)}
    written = {file: said if isinstance(said, bytes) else json.dumps(said).encode() for file, said in files.items()}
    return laid_out(name, CONFIG | config, shapes, written.get).keys


@pytest.mark.parametrize(
    ("said", "sentence"),
    [
        ({"rope_scaling": LINEAR, "rope_parameters": {"rope_type": "default"}}, "'llama3', and this .* has 'linear'"),
        ({"rope_parameters": {"full_attention": LLAMA3, "other": {}}}, "one for each of full_attention, other"),
        ({"rope_parameters": LLAMA3 | {"partial_rotary_factor": 0.5}}, r"turns whole heads, and this config 0\.5"),
        ({"rope_parameters": LLAMA3 | {"high_freq_factor": 1.0}}, "llama3 wants .* a larger high_freq_factor"),
        ({"rope_scaling": {"rope_theta": -1}}, "of positions is not readable at rope_theta: .* greater than 0"),
        ({"hidden_size": "8"}, "The config of Llama.* is not readable at hidden_size: .* valid integer"),
        ({"vocab_size": 2**40}, "is not readable at vocab_size: .* less than 2147483648"),
        ({"rms_norm_eps": 1e39}, "is not readable at rms_norm_eps"),
        ({"head_dim": 4}, r"tells of 2 heads of 4, and 'model\.layers\.0.* has 16 rows"),
    ],
)
def test_a_config_that_a_header_cannot_tell_is_refused_by_name(said: dict[str, Any], sentence: str) -> None:
    with pytest.raises(PublishError, match=sentence):
        header(said, FILES)


def test_biases_that_llama_cpp_does_not_load_are_refused() -> None:
    assert header({"attention_bias": True}, FILES)["llama.vocab_size"] == 10
    with pytest.raises(PublishError, match=r"A GGUF of qwen3 has attention_bias False, and this Qwen3.* has True"):
        header({"attention_bias": True}, FILES, "Qwen3ForCausalLM")

"""What a GGUF of a language model says in its header, and what of a config or a tokenizer it cannot say."""

from __future__ import annotations

import json
from collections.abc import Iterator
from copy import deepcopy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.backends.gguf.llama_cpp import laid_out
from pipeline.errors import PublishError
from pipeline.quantize.formats import gguf

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


def of_model(**said: Any) -> dict[str, Any]:
    return {"tokenizer.json": MODEL | {"model": MODEL["model"] | said}}


def of_step(**said: Any) -> dict[str, Any]:
    return {"tokenizer.json": MODEL | {"pre_tokenizer": MODEL["pre_tokenizer"] | said}}


def of_token(**said: Any) -> dict[str, Any]:
    return {"tokenizer.json": MODEL | {"added_tokens": [MODEL["added_tokens"][0] | said]}}


WORDS = {"type": "Unigram", "unk_id": 0, "vocab": [["<unk>", 0.0], ["\u2581a", -1], ["<0x41>", -2.5]]}
SPACES = [
    {"type": "Precompiled", "precompiled_charsmap": "AAEC"},
    {"type": "Strip", "strip_left": False, "strip_right": True},
    {"type": "Replace", "pattern": {"Regex": " {2,}"}, "content": "\u2581"},
]
T5 = {
    "model": WORDS,
    "normalizer": {"type": "Sequence", "normalizers": SPACES},
    "pre_tokenizer": {"type": "Metaspace", "replacement": "\u2581", "prepend_scheme": "always", "split": True},
    "added_tokens": [{"id": 3, "content": "<e>", "special": True, "lstrip": True}],
}


@pytest.mark.parametrize(
    ("files", "sentence"),
    [
        (of_model(ignore_merges=True), r"for \(ByteLevel\) with words that need no merge"),
        (of_step(add_prefix_space=True), r"for \(ByteLevel\)"),
        (of_step(type="Split", pattern={"String": " "}, behavior="Isolated"), r"for \(Split\)"),
        (of_model(end_of_word_suffix="</w>"), "says end_of_word_suffix '</w>'"),
        (of_model(continuing_subword_prefix="##"), "says continuing_subword_prefix '##'"),
        (of_model(dropout=0.1), r"says dropout 0\.1"),
        (of_token(lstrip=True), "finds '<e>' by what stands around it"),
        (of_token(rstrip=True), "finds '<e>' by what stands around it"),
        (of_token(single_word=True), "finds '<e>' by what stands around it"),
        ({"tokenizer.json": MODEL | {"normalizer": {"type": "NFC"}}}, r"changes texts before it splits them \(NFC\)"),
        ({"tokenizer.json": T5 | {"normalizer": {"type": "Lowercase"}}}, r"for \(Lowercase, Metaspace\)"),
        ({"tokenizer.json": T5 | {"normalizer": None}}, r"for \(Metaspace\)"),
        ({"tokenizer.json": T5 | {"pre_tokenizer": {"type": "Whitespace"}}}, r"Replace, Whitespace\)"),
        ({"tokenizer.json": T5 | {"normalizer": {"type": "Sequence", "normalizers": [
            SPACES[0] | {"precompiled_charsmap": "%"}, *SPACES[1:]]}}}, "a table of characters that is no base64"),
        ({"tokenizer.json": T5 | {"model": WORDS | {"unk_id": 9}}}, "has token 9 for what it does not know"),
        (of_model(type="WordPiece"), "of the kind WordPiece, and BPE and Unigram"),
        (of_model(merges=["a b c"]), "tokenizer.json merges 'a b c', which is no pair"),
        (of_model(merges=[["a"]]), r"tokenizer.json's model is not readable at merges\.0"),
        (of_model(vocab={"a": -1}), r"model is not readable at vocab\.a: .* greater than or equal to 0"),
        ({"tokenizer.json": b"[]"}, "tokenizer.json is not readable: input should be a valid dictionary"),
        ({"tokenizer.json": b"{"}, "tokenizer.json is no JSON"),
        ({"tokenizer_config.json": {"eos_token": 5}}, r"tokenizer_config.json is not readable at eos_token"),
        ({"tokenizer_config.json": {}}, "names no token that ends a text, in tokenizer_config.json, special_"),
        ({"tokenizer_config.json": {}, "generation_config.json": {"eos_token_id": []}}, "names no token that ends"),
        ({"tokenizer_config.json": {}, "generation_config.json": {"eos_token_id": 10}}, "Token 10 ends a text"),
    ],
)  # fmt: skip
def test_a_tokenizer_that_a_header_cannot_tell_is_refused_by_name(files: dict[str, Any], sentence: str) -> None:
    with pytest.raises(PublishError, match=sentence):
        header({}, FILES | files)


@pytest.mark.parametrize(
    ("config", "files", "number"),
    [
        ({"eos_token_id": 2}, {}, 3),
        ({"eos_token_id": 2}, {"tokenizer_config.json": {"eos_token": {"content": "<e>"}}}, 3),
        ({}, {"tokenizer_config.json": {}, "special_tokens_map.json": {"eos_token": {"content": "<e>"}}}, 3),
        ({}, {"special_tokens_map.json": {"eos_token": "ab"}}, 2),
        ({}, {"tokenizer_config.json": {"eos_token": "<e>", "added_tokens_decoder": {}},
              "special_tokens_map.json": {"eos_token": "ab"}}, 3),
        ({"eos_token_id": 2}, {"tokenizer_config.json": {}}, 2),
        ({"eos_token_id": 2}, {"tokenizer_config.json": {}, "generation_config.json": {"eos_token_id": [1, 0]}}, 1),
    ],
)  # fmt: skip
def test_what_ends_a_text_is_found_where_transformers_looks(
    config: dict[str, Any], files: dict[str, Any], number: int
) -> None:
    assert header(config, FILES | files)["tokenizer.ggml.eos_token_id"] == number


def test_a_model_that_continues_no_text_needs_no_end() -> None:
    assert "tokenizer.ggml.eos_token_id" not in header({}, FILES | {"tokenizer_config.json": {}}, "Qwen3Model")


def test_each_of_several_chat_templates_has_its_name() -> None:
    several = [{"name": "default", "template": "{{ a }}"}, {"name": "tool-use", "template": "{{ b }}"}]
    found = header({}, FILES | {"tokenizer_config.json": {"eos_token": "<e>", "chat_template": several}})
    assert {key: value for key, value in found.items() if "chat" in key} == {
        "tokenizer.chat_template": "{{ a }}",
        "tokenizer.chat_template.tool_use": "{{ b }}",
        "tokenizer.chat_templates": ["tool_use"],
    }
    alone = header({}, FILES | {"chat_template.jinja": b"{{ c }}"})
    assert alone["tokenizer.chat_template"] == "{{ c }}"


def test_no_two_tokens_have_one_name() -> None:
    found = header({}, FILES | of_model(vocab={"a": 0, "b": 1, "[PAD7]": 2}))["tokenizer.ggml.tokens"]
    assert found[2:4] == ["[PAD7]", "<e>"]
    assert (found[7], len({*found})) == ("[[PAD7]]", 10)


def test_words_have_scores_bytes_and_a_table_of_characters() -> None:
    files = FILES | {"tokenizer.json": T5 | {"model": WORDS | {"byte_fallback": True}}}
    found = header({}, files)
    assert found["tokenizer.ggml.precompiled_charsmap"] == bytes([0, 1, 2])
    assert found["tokenizer.ggml.token_type"][:5] == [2, 1, 6, 3, 5]
    assert found["tokenizer.ggml.scores"] == [0.0, -1.0, -2.5, *[0.0] * 7]


def places(value: Any, place: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    yield place
    for key in value if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ():
        yield from places(value[key], (*place, key))


TEMPLATED = {
    "post_processor": {
        "type": "TemplateProcessing",
        "single": [{"Sequence": {"id": "A"}}, {"SpecialToken": {"id": "<e>"}}],
        "special_tokens": {"<e>": {"id": "<e>", "ids": [3]}},
    }
}
MUTATED = [FILES | {"tokenizer.json": MODEL | TEMPLATED}, FILES | {"tokenizer.json": T5 | TEMPLATED}]


@given(st.data())
def test_whatever_is_broken_in_a_tokenizer_is_told_by_our_own_errors(data: st.DataObject) -> None:
    files = deepcopy(data.draw(st.sampled_from(MUTATED)))
    *place, last = data.draw(st.sampled_from([one for one in places(files) if one]))
    held: Any = files
    for key in place:
        held = held[key]
    values = [None, 5, -1, 2**70, 0.5, True, "x", "", [], {}, [1], ["a", "b"], {"a": 1}, [[]], {"type": "Sequence"}]
    held[last] = data.draw(st.sampled_from(values))
    try:
        keys = header({}, files)
    except PublishError:
        return
    gguf.header({}, keys)

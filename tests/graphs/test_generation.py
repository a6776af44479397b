"""Graphs of models that generate: read by transformers.js, equal to the model, driven by transformers' own generate."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx
import pytest
import torch
from transformers import (
    AutoModelForCausalLM,
    GenerationConfig,
    LlamaConfig,
    MistralConfig,
    WhisperConfig,
    WhisperForConditionalGeneration,
)

from pipeline.backends.onnx import SCHEMES
from pipeline.backends.onnx.decoder import require_plain_cache
from pipeline.backends.onnx.graphs import export
from pipeline.backends.onnx.runtime import opened
from pipeline.backends.onnx.schemes import quantize
from pipeline.worker.child import WorkerError

NEAR = {"atol": 1e-4, "rtol": 1e-4}
WORDS = 40_000  # enough that the exporter does not fold the turned table of tokens into a second one
FRAMES = 120  # of a sound that the tiny Whisper hears at once


@dataclass(frozen=True)
class Exported:
    """A model, the object that answers by its graphs, and the folder of both."""

    model: Any
    graph: Any
    folder: Path


def exported(kind: Any, model: Any, folder: Path) -> Exported:
    torch.manual_seed(0)
    for parameter in model.parameters():
        parameter.data.normal_(0, 0.3)
    model.eval().save_pretrained(folder)
    export(model, folder)
    (folder / "model.safetensors").unlink()  # what answers below is the graph
    return Exported(model, opened(kind, folder), folder)


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Exported:
    sizes = {"vocab_size": WORDS, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2}
    config = LlamaConfig(**sizes, num_attention_heads=4, num_key_value_heads=2, tie_word_embeddings=True)
    return exported(AutoModelForCausalLM, AutoModelForCausalLM.from_config(config), tmp_path_factory.mktemp("llama"))


@pytest.fixture(scope="module")
def whisper(tmp_path_factory: pytest.TempPathFactory) -> Exported:
    sizes = {"vocab_size": 160, "d_model": 32, "encoder_layers": 1, "decoder_layers": 2}
    heads = {"encoder_attention_heads": 4, "decoder_attention_heads": 4, "encoder_ffn_dim": 64, "decoder_ffn_dim": 64}
    tokens = {"pad_token_id": 2, "bos_token_id": 1, "eos_token_id": 2, "decoder_start_token_id": 3}
    config = WhisperConfig(**sizes, **heads, **tokens, max_source_positions=FRAMES // 2, max_target_positions=64)
    model = WhisperForConditionalGeneration(config)
    told = {"no_timestamps_token_id": 99, "begin_suppress_tokens": [5], "suppress_tokens": [6, 7], "max_length": 12}
    model.generation_config = GenerationConfig(**tokens, **told, is_multilingual=False)
    return exported(WhisperForConditionalGeneration, model, tmp_path_factory.mktemp("whisper"))


def shapes(path: Path) -> dict[str, list[int | str]]:
    """Return the inputs and outputs of a graph with their dimensions."""
    graph = onnx.load(path).graph
    values = [*graph.input, *graph.output]
    return {one.name: [size.dim_param or size.dim_value for size in one.type.tensor_type.shape.dim] for one in values}


def cached(past: Any) -> Iterator[torch.Tensor]:
    """Yield the keys and values of a cache."""
    for layers in [past] if hasattr(past, "layers") else [past.self_attention_cache, past.cross_attention_cache]:
        for layer in layers.layers:
            yield from (layer.keys, layer.values)


def assert_same(one: Any, other: Any) -> None:
    torch.testing.assert_close(one.logits, other.logits, **NEAR)
    for own, others in zip(cached(one.past_key_values), cached(other.past_key_values), strict=True):
        torch.testing.assert_close(own, others, **NEAR)


def test_a_language_model_is_read_by_transformers_js(llama: Exported) -> None:
    """`decoder_forward`, `addPastKeyValues` (modeling_utils.js) and `getKeyValueNames` (configs.js) of 4.3.2.

    A first cache has the batch where a dimension is called batch_size, 0 where it is called otherwise.
    """
    found = shapes(llama.folder / "onnx/model.onnx")
    assert list(found) == [
        *("input_ids", "attention_mask", "position_ids"),
        *(f"past_key_values.{layer}.{side}" for layer in (0, 1) for side in ("key", "value")),
        "logits",
        *(f"present.{layer}.{side}" for layer in (0, 1) for side in ("key", "value")),
    ]
    assert found["past_key_values.1.value"] == ["batch_size", 2, "past_sequence_length", 8]
    assert found["attention_mask"] == ["batch_size", "total_sequence_length"]
    assert found["logits"] == ["batch_size", "sequence_length", WORDS]


def test_whisper_is_read_by_transformers_js(whisper: Exported) -> None:
    """`seq2seq_forward` and `decoder_forward` (modeling_utils.js), `MODEL_SESSION_CONFIG` (session_config.js) of 4.3.2.

    What a graph asks for beside these is missing there; `use_cache_branch` is asked for by a graph of two branches.
    """
    entries = [f"{layer}.{of}.{side}" for of in ("decoder", "encoder") for layer in (0, 1) for side in ("key", "value")]
    sound = shapes(whisper.folder / "onnx/encoder_model.onnx")
    assert sound == {"input_features": ["batch_size", 80, FRAMES], "last_hidden_state": ["batch_size", FRAMES // 2, 32]}
    found = shapes(whisper.folder / "onnx/decoder_model_merged.onnx")
    past, present = ([f"{before}.{entry}" for entry in entries] for before in ("past_key_values", "present"))
    assert list(found) == ["input_ids", "encoder_hidden_states", *past, "logits", *present]
    assert found["past_key_values.0.decoder.key"] == ["batch_size", 4, "past_decoder_sequence_length", 8]
    assert found["past_key_values.1.encoder.value"] == ["batch_size", 4, "past_encoder_sequence_length", 8]


def test_a_language_model_answers_as_the_model_does_then_with_its_cache(llama: Exported) -> None:
    tokens, following = torch.randint(3, WORDS, (2, 6)), torch.randint(3, WORDS, (2, 1))
    mask = torch.tensor([[1] * 6, [0, 0, 1, 1, 1, 1]])
    places = mask.cumsum(1).sub(1).clamp(0)
    masks = (mask, torch.cat([mask, torch.ones(2, 1, dtype=torch.int64)], 1))
    with torch.no_grad():
        own, other = (one(tokens, attention_mask=mask, position_ids=places) for one in (llama.model, llama.graph))
        assert_same(own, other)
        later = {"attention_mask": masks[1], "position_ids": masks[1].sum(1, keepdim=True) - 1}
        for one, before in ((llama.model, own), (llama.graph, other)):
            before.later = one(following, past_key_values=before.past_key_values, **later)
    assert_same(own.later, other.later)


def test_whisper_answers_as_the_model_does_then_with_its_cache(whisper: Exported) -> None:
    sound, tokens = torch.randn(2, 80, FRAMES), torch.randint(8, 90, (2, 4))
    with torch.no_grad():
        own, other = (one(sound, decoder_input_ids=tokens[:, :3]) for one in (whisper.model, whisper.graph))
        assert_same(own, other)
        for one, before in ((whisper.model, own), (whisper.graph, other)):
            states, past = (before.encoder_last_hidden_state,), before.past_key_values
            before.later = one(encoder_outputs=states, past_key_values=past, decoder_input_ids=tokens[:, 3:])
    assert_same(own.later, other.later)


BY_NIGHT = [pytest.param(how, marks=pytest.mark.nightly) for how in ({"use_cache": False}, {"repetition_penalty": 1.5})]


@pytest.mark.parametrize("how", [{}, {"num_beams": 3}, *BY_NIGHT], ids=str)
def test_a_language_model_generates_what_the_model_does(llama: Exported, how: dict[str, Any]) -> None:
    tokens, mask = torch.randint(3, WORDS, (2, 6)), torch.tensor([[1] * 6, [0, 0, 1, 1, 1, 1]])
    asked = {"attention_mask": mask, "max_new_tokens": 16, "do_sample": False, **how}
    assert torch.equal(llama.model.generate(tokens, **asked), llama.graph.generate(tokens, **asked))


@pytest.mark.parametrize("how", [{}, {"num_beams": 3}], ids=str)
def test_whisper_writes_what_the_model_does(whisper: Exported, how: dict[str, Any]) -> None:
    sound = torch.randn(2, 80, FRAMES)
    assert torch.equal(whisper.model.generate(sound, **how), whisper.graph.generate(sound, **how))


def test_whisper_writes_of_a_long_sound_what_the_model_does(whisper: Exported) -> None:
    sound = torch.randn(1, 80, 3 * FRAMES)
    asked = {"attention_mask": torch.ones(1, 3 * FRAMES, dtype=torch.int64), "return_timestamps": True}
    own, other = (one.generate(sound, **asked, return_segments=True) for one in (whisper.model, whisper.graph))
    assert len(own["segments"][0]) > 1
    assert torch.equal(own["sequences"], other["sequences"])


def test_a_masked_token_is_no_answer_of_a_graph_without_a_mask(whisper: Exported) -> None:
    tokens = torch.randint(8, 90, (2, 3))
    mask = torch.tensor([[1, 1, 1], [0, 1, 1]])
    with pytest.raises(ValueError, match="transcribe one sound at a time"):
        whisper.graph(torch.randn(2, 80, FRAMES), decoder_input_ids=tokens, decoder_attention_mask=mask)


def test_a_cache_that_forgets_is_refused() -> None:
    config = MistralConfig(vocab_size=64, hidden_size=16, num_attention_heads=2, num_hidden_layers=1, sliding_window=8)
    with torch.device("meta"), pytest.raises(WorkerError) as refusal:
        require_plain_cache(AutoModelForCausalLM.from_config(config))
    assert "MistralForCausalLM keeps DynamicSlidingWindowLayer" in refusal.value.what


def quantized(model: Exported, scheme: str, folder: Path) -> Any:
    """Return the object that answers by a model's graphs, quantized into a folder."""
    shutil.copytree(model.folder, folder, ignore=shutil.ignore_patterns("*.onnx"))
    plain = shutil.copytree(model.folder / "onnx", folder.with_suffix(".graphs"))
    for path in list(plain.iterdir()):
        quantize(scheme, SCHEMES[scheme].options().model_dump(), path, folder / f"onnx/{path.stem}_quantized.onnx")
    return opened(type(model.model), folder)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_quantized_language_model_generates(llama: Exported, scheme: str, tmp_path: Path) -> None:
    made = quantized(llama, scheme, tmp_path / scheme)
    tokens = torch.randint(3, WORDS, (2, 6))
    with torch.no_grad():
        own, other = (one(tokens).logits.flatten() for one in (llama.model, made))
    assert torch.cosine_similarity(own, other, 0) > {"q4": 0.9}.get(scheme, 0.99)
    assert made.generate(tokens, max_new_tokens=4, do_sample=False).shape == (2, 10)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_quantized_whisper_writes(whisper: Exported, scheme: str, tmp_path: Path) -> None:
    made = quantized(whisper, scheme, tmp_path / scheme)
    sound, tokens = torch.randn(2, 80, FRAMES), torch.randint(8, 90, (2, 3))
    with torch.no_grad():
        own, other = (one(sound, decoder_input_ids=tokens).logits.flatten() for one in (whisper.model, made))
    assert torch.cosine_similarity(own, other, 0) > {"q4": 0.9}.get(scheme, 0.99)
    assert made.generate(sound, max_new_tokens=4).shape[0] == 2


def test_a_graph_that_is_kept_whole_lies_beside_the_other_as_it_is(whisper: Exported, tmp_path: Path) -> None:
    options = SCHEMES["q4"].options().model_dump() | {"modules_to_not_convert": [r"model\.encoder\..*"]}
    encoder, decoder = (whisper.folder / f"onnx/{name}.onnx" for name in ("encoder_model", "decoder_model_merged"))
    assert not quantize("q4", options, encoder, tmp_path / "encoder_model_q4.onnx")
    assert (tmp_path / "encoder_model_q4.onnx").read_bytes() == encoder.read_bytes()
    assert quantize("q4", options, decoder, tmp_path / "decoder_model_merged_q4.onnx")


def test_a_table_of_tokens_that_serves_for_logits_lies_once(llama: Exported, tmp_path: Path) -> None:
    table = WORDS * 32
    plain = llama.folder / "onnx/model.onnx"
    assert table * 4 < plain.stat().st_size < table * 5
    for scheme, options, least, most in (
        ("q4", {}, table // 2, table),
        ("q4", {"modules_to_not_convert": ["lm_head"]}, table * 4, table * 5),
        ("int8", {}, table, table * 3 // 2),
        ("q4", {"embedding_bits": 8}, table, table * 3 // 2),
        ("fp16", {}, table * 2, table * 3),
    ):
        made = tmp_path / f"{scheme}.onnx"
        kept = {"modules_to_not_convert": options.pop("modules_to_not_convert", [])}
        quantize(scheme, SCHEMES[scheme].options(**options).model_dump() | kept, plain, made)
        assert least < made.stat().st_size < most

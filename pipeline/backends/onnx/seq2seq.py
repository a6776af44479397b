"""Whisper: a graph of its encoder and one of its decoder, as transformers.js reads them to transcribe.

The names are those of `seq2seq_forward`, `decoder_forward` and `getCacheNames` in `@huggingface/transformers` 4.3.2
(`modeling_utils.js`, `configs.js`). There "merged" means one graph for the first step, whose cache is empty, and for
the later ones. It needs no branch: keys and values of the sound are made of the states that the cache has not yet,
which are all in the first step and none afterwards.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from pipeline.backends.onnx import cache
from pipeline.backends.onnx.graphs import Graph

ENCODER: Final = "encoder_model"
DECODER: Final = "decoder_model_merged"
NAMES: Final = (ENCODER, DECODER)
SOUND: Final = {0: cache.BATCH}  # Whisper hears thirty seconds, no more and no less
TOKENS: Final = {0: cache.BATCH, 1: "decoder_sequence_length"}
KEPT: Final = {
    "decoder.": {0: cache.BATCH, cache.LENGTH: "past_decoder_sequence_length"},
    "encoder.": {0: cache.BATCH, cache.LENGTH: "past_encoder_sequence_length"},
}


def fits(model: Any) -> bool:
    """Return whether a model is a Whisper that writes."""
    return bool(model.config.model_type == "whisper" and model.can_generate())


def graphs(model: Any) -> Sequence[Graph]:
    """Return the graphs of encoder and decoder."""
    model.set_attn_implementation("eager")  # which is matrices and a softmax, by the names of the model's modules
    return [_encoder(model), _decoder(model)]


def _encoder(model: Any) -> Graph:
    import torch

    class Encoder(torch.nn.Module):  # type: ignore[misc]
        """The model's encoder."""

        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, inputs: Mapping[str, Any]) -> Any:
            return self.model.get_encoder()(**inputs).last_hidden_state

    config = model.config
    sound = torch.zeros((2, config.num_mel_bins, 2 * config.max_source_positions), dtype=model.dtype)
    inputs = {"input_features": sound}
    return Graph(ENCODER, Encoder(), inputs, ["last_hidden_state"], {"inputs": dict.fromkeys(inputs, SOUND)})


def _decoder(model: Any) -> Graph:
    import torch

    class Decoder(torch.nn.Module):  # type: ignore[misc]
        """The model's decoder, its cache being tensors."""

        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, inputs: Mapping[str, Any]) -> Any:
            tokens, states = inputs["input_ids"], inputs["encoder_hidden_states"]
            own, heard = ([inputs[cache.PAST + name] for name in named] for named in (written, listened))
            heard = [_continued(entry, states, by) for entry, by in zip(heard, projections, strict=True)]
            past = EncoderDecoderCache(cache.of_tensors(own), cache.of_tensors(heard))
            past.is_updated = dict.fromkeys(range(len(layers)), True)
            answer = self.model.get_decoder()(tokens, None, states, past, use_cache=True)
            logits = self.model.proj_out(answer.last_hidden_state)
            return logits, *cache.tensors_of(past.self_attention_cache), *heard

    from transformers import EncoderDecoderCache

    layers = model.get_decoder().layers
    written, listened = (cache.names(len(layers), kind) for kind in KEPT)
    attentions = [layer.encoder_attn for layer in layers]
    projections = [projection for one in attentions for projection in (one.k_proj, one.v_proj)]
    inputs = example(model)
    dynamic = {name: next((axes for kind, axes in KEPT.items() if kind in name), SOUND) for name in inputs}
    dynamic["input_ids"] = TOKENS
    outputs = ["logits", *(cache.PRESENT + name for name in (*written, *listened))]
    return Graph(DECODER, Decoder(), inputs, outputs, {"inputs": dynamic})


def _continued(entry: Any, states: Any, projection: Any) -> Any:
    """Return keys or values of the sound, to those that there are being added those of the states after them."""
    import torch

    batch, heads, length, width = entry.shape
    fresh = projection(states[:, length:]).view(batch, -1, heads, width).transpose(1, 2)
    return torch.cat([entry, fresh], cache.LENGTH)


def example(model: Any, batch: int = 2, past: int = 5, length: int = 3) -> dict[str, Any]:
    """Return inputs of the decoder amid its work; a dimension of 0 or 1 would be taken for a constant."""
    import torch

    config, layers = model.config, len(model.get_decoder().layers)
    heads = config.decoder_attention_heads
    kept = torch.zeros((batch, heads, past, config.d_model // heads), dtype=model.dtype)
    return {
        "input_ids": torch.arange(batch * length).reshape(batch, length) % config.vocab_size,
        "encoder_hidden_states": torch.zeros((batch, config.max_source_positions, config.d_model), dtype=model.dtype),
        **{cache.PAST + name: kept.clone() for kind in KEPT for name in cache.names(layers, kind)},
    }


def answers(model: Any, sessions: Mapping[str, Any]) -> Mapping[str, Callable[..., Any]]:
    """Return what answers for the whole model, and for its encoder, which ``generate`` calls by itself."""
    return {
        "": lambda **inputs: forward(model, sessions[DECODER], inputs),
        "model.encoder": lambda **inputs: encode(sessions[ENCODER], inputs),
    }


def encode(session: Any, inputs: Mapping[str, Any]) -> Any:
    """Return the states of a sound, as ``forward`` of Whisper's encoder does."""
    import torch
    from transformers.modeling_outputs import BaseModelOutput

    (states,) = session.run(None, {"input_features": inputs["input_features"].float().numpy()})
    return BaseModelOutput(last_hidden_state=torch.from_numpy(states))


def forward(model: Any, session: Any, inputs: Mapping[str, Any]) -> Any:
    """Return logits and the cache after some tokens, as ``forward`` of Whisper does.

    Raises:
        ValueError: Some tokens are masked, as in a batch with texts of other lengths before it: the graph has no mask.
    """
    from transformers import DynamicCache, EncoderDecoderCache
    from transformers.modeling_outputs import Seq2SeqLMOutput

    mask = inputs.get("decoder_attention_mask")
    if mask is not None and not mask.all():
        raise ValueError("The graph of Whisper's decoder reads all tokens: transcribe one sound at a time.")
    encoded = inputs.get("encoder_outputs")
    states = model.get_encoder()(input_features=inputs["input_features"])[0] if encoded is None else encoded[0]
    tokens, past = inputs["decoder_input_ids"], inputs.get("past_key_values")
    past = past if past is not None else EncoderDecoderCache(DynamicCache(), DynamicCache())
    written, listened = (cache.names(model.config.decoder_layers, kind) for kind in KEPT)
    own, heard = past.self_attention_cache, past.cross_attention_cache
    batch, known = len(tokens), bool(heard.get_seq_length())
    given = {"input_ids": tokens.numpy(), "encoder_hidden_states": states.float().numpy()}
    given |= cache.feeds(own, written, session, batch) | cache.feeds(heard, listened, session, batch)
    logits, present = cache.run(session, given, written if known else [*written, *listened])
    cache.put(own, present[: len(written)])
    if not known:
        cache.put(heard, present[len(written) :])
        past.is_updated |= dict.fromkeys(range(model.config.decoder_layers), True)
    return Seq2SeqLMOutput(logits=logits, past_key_values=past, encoder_last_hidden_state=states)

"""Language models: one graph from tokens and a cache to logits, as ``text-generation`` of transformers.js reads it.

The names are those of `decoder_forward` and `getCacheNames` in `@huggingface/transformers` 4.3.2 (`modeling_utils.js`,
`configs.js`). The first call has a cache of length 0, so that one graph does for all.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from pipeline.backends.onnx import cache
from pipeline.backends.onnx.graphs import Graph
from pipeline.worker.child import WorkerError

NAME: Final = "model"
NAMES: Final = (NAME,)
TEXT: Final = ("input_ids", "attention_mask", "position_ids")
TOKENS: Final = {0: cache.BATCH, 1: "sequence_length"}
SEEN: Final = {0: cache.BATCH, 1: "total_sequence_length"}
KEPT: Final = {0: cache.BATCH, cache.LENGTH: "past_sequence_length"}


def fits(model: Any) -> bool:
    """Return whether a model takes tokens and generates what follows them."""
    text = model.main_input_name == "input_ids" and not model.config.is_encoder_decoder
    return text and bool(model.can_generate())


def graphs(model: Any) -> Sequence[Graph]:
    """Return the graph of a language model.

    Raises:
        WorkerError: Its cache is more than the keys and values of all that was read.
    """
    import torch

    require_plain_cache(model)
    model.set_attn_implementation("eager")  # which is matrices and a softmax, by the names of the model's modules
    entries = cache.names(model.config.get_text_config().num_hidden_layers)

    class Decoder(torch.nn.Module):  # type: ignore[misc]
        """The model, its cache being tensors."""

        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, inputs: Mapping[str, Any]) -> Any:
            past = cache.of_tensors([inputs[cache.PAST + name] for name in entries])
            answer = self.model(**{name: inputs[name] for name in TEXT}, past_key_values=past, use_cache=True)
            return answer.logits, *cache.tensors_of(answer.past_key_values)

    inputs = example(model, entries)
    dynamic = {name: SEEN if name == "attention_mask" else TOKENS if name in TEXT else KEPT for name in inputs}
    outputs = ["logits", *(cache.PRESENT + name for name in entries)]
    return [Graph(NAME, Decoder(), inputs, outputs, {"inputs": dynamic})]


def example(model: Any, entries: Sequence[str], batch: int = 2, past: int = 5, length: int = 3) -> dict[str, Any]:
    """Return inputs after some tokens; a dimension of 0 or 1 would be taken for a constant."""
    import torch

    config = model.config.get_text_config()
    width = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    shape = (batch, config.num_key_value_heads, past, width)
    return {
        "input_ids": torch.arange(batch * length).reshape(batch, length) % config.vocab_size,
        "attention_mask": torch.ones((batch, past + length), dtype=torch.int64),
        "position_ids": torch.arange(past, past + length).repeat(batch, 1),
        **{cache.PAST + name: torch.zeros(shape, dtype=model.dtype) for name in entries},
    }


def require_plain_cache(model: Any) -> None:
    """Refuse a model whose cache forgets, or is none.

    Raises:
        WorkerError: It does.
    """
    from transformers.cache_utils import DynamicCache, DynamicLayer

    kinds = {type(layer) for layer in DynamicCache(config=model.config).layers}
    others = {kind.__name__ for kind in kinds - {DynamicLayer}}
    if others:
        what = f"{type(model).__name__} keeps {', '.join(sorted(others))} beside or in place of plain keys and values."
        raise WorkerError("library", what, "Choose another backend for this component.")


def answers(model: Any, sessions: Mapping[str, Any]) -> Mapping[str, Callable[..., Any]]:
    """Return what answers for the whole model."""
    return {"": lambda **inputs: forward(model, sessions[NAME], inputs)}


def forward(model: Any, session: Any, inputs: Mapping[str, Any]) -> Any:
    """Return logits and the cache after some tokens, as ``forward`` of the model's class does."""
    import torch
    from transformers import DynamicCache
    from transformers.modeling_outputs import CausalLMOutputWithPast

    tokens = inputs["input_ids"]
    past = inputs.get("past_key_values")
    before = past.get_seq_length() if past is not None else 0
    batch, length = tokens.shape
    mask, places = inputs.get("attention_mask"), inputs.get("position_ids")
    entries = cache.names(model.config.get_text_config().num_hidden_layers)
    given = {
        "input_ids": tokens,
        "attention_mask": torch.ones((batch, before + length), dtype=torch.int64) if mask is None else mask.long(),
        "position_ids": torch.arange(before, before + length).repeat(batch, 1) if places is None else places,
    }
    if given["position_ids"].shape[0] != batch:
        given["position_ids"] = given["position_ids"].repeat(batch, 1)
    feeds = {name: tensor.numpy() for name, tensor in given.items()} | cache.feeds(past, entries, session, batch)
    used = inputs.get("use_cache") is not False
    logits, present = cache.run(session, feeds, entries if used else ())
    if used:
        past = past if past is not None else DynamicCache(config=model.config)
        cache.put(past, present)
    kept = inputs.get("logits_to_keep") or 0
    return CausalLMOutputWithPast(logits=logits[:, -kept:] if kept else logits, past_key_values=past if used else None)

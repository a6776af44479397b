"""Encoders of text: one graph from tokens to states, as the task ``feature-extraction`` of transformers.js reads it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from pipeline.backends.onnx.graphs import Graph

if TYPE_CHECKING:
    import torch

NAME: Final = "model"
NAMES: Final = (NAME,)
TOKENS: Final = {0: "batch_size", 1: "sequence_length"}


def fits(model: Any) -> bool:
    """Return whether a model takes tokens and generates nothing."""
    return model.main_input_name == "input_ids" and not model.config.is_encoder_decoder and not model.can_generate()


def graphs(model: Any) -> Sequence[Graph]:
    """Return the graph of an encoder, whose first output is what it is for."""
    import torch

    class Encoder(torch.nn.Module):  # type: ignore[misc]
        """The model, called by names."""

        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, inputs: Mapping[str, Any]) -> Any:
            return self.model(**inputs)[0]

    inputs = example(model)
    with torch.no_grad():
        (output, *_) = model(**inputs).keys()
    return [Graph(NAME, Encoder(), inputs, (output,), {"inputs": dict.fromkeys(inputs, TOKENS)})]


def example(model: Any) -> dict[str, torch.Tensor]:
    """Return two rows of tokens; a batch or a length of one would be taken for a constant."""
    import torch

    tokens = torch.arange(14).reshape(2, 7) % model.config.vocab_size
    inputs = {"input_ids": tokens, "attention_mask": torch.ones_like(tokens)}
    return inputs | (
        {"token_type_ids": torch.zeros_like(tokens)} if getattr(model.config, "type_vocab_size", 0) > 1 else {}
    )


def answers(_: Any, sessions: Mapping[str, Any]) -> Mapping[str, Callable[..., Any]]:
    """Return what answers for the whole model."""
    return {"": lambda **inputs: forward(sessions[NAME], inputs)}


def forward(session: Any, inputs: Mapping[str, Any]) -> Any:
    """Answer as the model's class does, by the session of its graph."""
    import torch
    from transformers.modeling_outputs import ModelOutput

    wanted = {entry.name for entry in session.get_inputs()}
    left_out = {"attention_mask": torch.ones_like, "token_type_ids": torch.zeros_like}  # as the classes have it
    usual = {name: filled(inputs["input_ids"]) for name, filled in left_out.items()}
    given = {name: value.numpy() for name, value in {**usual, **inputs}.items() if name in wanted}
    answers = session.run(None, given)
    named = zip((entry.name for entry in session.get_outputs()), answers, strict=True)
    return ModelOutput({name: torch.from_numpy(values) for name, values in named})

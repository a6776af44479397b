"""Single models of transformers: load one as its users do, with the tokenizer that prepares its input."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pipeline.source.layout import MODEL
from pipeline.tasks.loading import from_pretrained
from pipeline.tasks.protocol import LoadedModel


@dataclass(frozen=True)
class TextModel:
    """A model with its tokenizer."""

    model: Any
    tokenizer: Any


def load(model: Path, dtype: str, loader: str) -> LoadedModel:
    """Load a model with its tokenizer; see :func:`load_alone` for where and how."""
    import transformers

    found = load_alone(model, dtype, loader)
    tokenizer = transformers.AutoTokenizer.from_pretrained(model)
    return replace(
        found, model=TextModel(found.model, tokenizer), components={**found.components, "tokenizer": tokenizer}
    )


def load_alone(model: Path, dtype: str, loader: str) -> LoadedModel:
    """Load a model onto the GPU if there is one, else onto the CPU.

    Args:
        model: Its folder.
        dtype: Name of a torch dtype for everything that is not quantized.
        loader: The class of transformers that loads it.
    """
    import torch
    import transformers
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()  # the console alone speaks to people
    further = {"dtype": getattr(torch, dtype), "device_map": "cuda" if torch.cuda.is_available() else "cpu"}
    found = from_pretrained(getattr(transformers, loader), model, lambda loaded: {MODEL: loaded}, further)
    if not found.model.can_generate():
        return found
    return replace(found, components={**found.components, "generation_config": generating(found.model)})


def generating(model: Any) -> Any:
    """Return how a model generates where its user does not say otherwise, what the library adds included."""
    found = deepcopy(model.generation_config)
    found.update(**found._get_default_generation_params(), defaults_only=True)
    return found

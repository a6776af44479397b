"""In the consumer's process: how each part of a model is set, as it was loaded, whichever of its files says so."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

from pipeline.files import digest_of
from pipeline.tasks.protocol import LoadedModel

RULES: Final = ("added_tokens", "normalizer", "pre_tokenizer", "post_processor", "decoder")  # of a fast tokenizer
SIDES: Final = ("padding_side", "truncation_side", "model_max_length")
SHOWN: Final = 12  # digits of a digest that tell two vocabularies apart


def settings(loaded: LoadedModel) -> dict[str, Any]:
    """Return the class and settings of each component as loaded, as JSON."""
    found = {name: {"class": type(part).__name__, **of_part(part)} for name, part in loaded.components.items()}
    return {name: json.loads(json.dumps(values, default=str)) for name, values in found.items()}


def of_part(part: Any) -> dict[str, Any]:
    """Return how a model, a scheduler, a tokenizer, a processor or a mapping is set."""
    config = getattr(part, "config", part)
    values = config.to_dict() if hasattr(config, "to_dict") else dict(config) if isinstance(config, Mapping) else {}
    template = getattr(part, "chat_template", None)
    reads = of_tokenizer(part) if hasattr(part, "special_tokens_map") else {}
    return {**values, **reads, **({"chat_template": template} if template else {})}


def of_tokenizer(tokenizer: Any) -> dict[str, Any]:
    """Return how a tokenizer makes tokens of a text, and which are special."""
    fast = getattr(tokenizer, "backend_tokenizer", None)
    whole = json.loads(fast.to_str()) if fast else {"model": tokenizer.get_vocab()}
    vocabulary = f"{len(tokenizer)} tokens ({digest_of(whole['model'])[:SHOWN]})"
    sides = {name: getattr(tokenizer, name, None) for name in SIDES}
    rules = {name: whole.get(name) for name in RULES}
    return {"vocabulary": vocabulary, **tokenizer.special_tokens_map, **sides, **rules}

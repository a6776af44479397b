"""What was loaded: is every part of the candidate that is not quantized the source's own.

Compared are the settings as ``from_pretrained`` read them, component by component and whichever file says them, and the
small files beside the weights that both have. The weights themselves are compared by what their layers answer; see
``layers``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from pipeline.tasks.answers import Answers

# What a component's config says of its making and of what it tells besides, not of what it computes.
MAKING: Final = frozenset(
    {
        *("quantization_config", "dtype", "torch_dtype", "transformers_version", "processor_class"),
        *("output_attentions", "output_hidden_states"),
    }
)
# Files of a single model of which nothing counts but what was loaded.
READ: Final = frozenset(
    {"generation_config.json", "chat_template.jinja", "special_tokens_map.json", "added_tokens.json"}
)
LONGEST = 60  # characters of a value that is shown


def differences(reference: Answers, candidate: Answers) -> list[str]:
    """Return a sentence for every component or file of the candidate that is not the source's."""
    found = []
    for name, own in reference.configs.items():
        if name not in candidate.configs:
            found.append(f"{name} of the source is not in what was loaded.")
        elif changed := _changed(own, candidate.configs[name]):
            found.append(f"{name} is not the source's: {'; '.join(changed)}.")
    found += [
        f"{name} is not the source's, which has no such component."
        for name in candidate.configs
        if name not in reference.configs
    ]
    shared = (reference.files.keys() & candidate.files.keys()) - READ
    changed_files = sorted(name for name in shared if reference.files[name] != candidate.files[name])
    named = {line.split(" ", 1)[0] for line in found}
    return found + [f"{name} is not the source's." for name in changed_files if _part(name) not in named]


def _part(file: str) -> str:
    """Return the component that a file is of: its folder, or its own name."""
    return Path(file).parts[0].removesuffix(".json")


def _changed(own: Mapping[str, Any], other: Mapping[str, Any]) -> list[str]:
    keys = sorted(key for key in own.keys() | other.keys() if not key.startswith("_") and key not in MAKING)
    return [
        f"{key} is {_shown(other.get(key))} instead of {_shown(own.get(key))}"
        for key in keys
        if own.get(key) != other.get(key)
    ]


def _shown(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 3]}..."

"""What was loaded: is every part of the candidate that is not quantized the source's own.

Compared are the configs as ``from_pretrained`` read them, component by component, and the small files beside the
weights. The weights themselves are compared by what their layers answer; see ``layers``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

from pipeline.tasks.answers import Answers

# What a component's config says of its making, not of what it computes.
MAKING: Final = frozenset(
    {"quantization_config", "dtype", "torch_dtype", "transformers_version", "architectures", "processor_class"}
)
OPTIONAL: Final = frozenset({"generation_config.json", "chat_template.jinja"})  # libraries silently do without
VOCABULARY: Final = "tokenizer.json"  # as well, with no words for a tokenizer, where no file of an older form has them
OLDER: Final = ("vocab", "spiece", "sentencepiece", "tokenizer.model")  # how the names of those begin
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
    needed = OPTIONAL if any(name.startswith(OLDER) for name in candidate.files) else OPTIONAL | {VOCABULARY}
    missing = sorted(needed & reference.files.keys() - candidate.files.keys())
    found += [f"{name} of the source is not in what was loaded." for name in missing]
    shared = reference.files.keys() & candidate.files.keys()
    changed_files = sorted(name for name in shared if reference.files[name] != candidate.files[name])
    named = {line.split(" ", 1)[0] for line in found}
    return found + [f"{name} is not the source's." for name in changed_files if name.split("/", 1)[0] not in named]


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

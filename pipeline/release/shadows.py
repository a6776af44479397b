"""Shadows: files beside a checkpoint that would change what a plain ``from_pretrained`` loads of it.

The libraries look into a component's folder for more than was saved: an index is preferred to a single file, an
adapter's config loads the adapter, another tokenizer's file is believed, and one pickle in a folder without safetensors
makes diffusers take pickles everywhere (``is_safetensors_compatible`` in 0.42). So any file of such a kind is one,
unless it is of a variant, which is read where somebody asks for it.
"""

from __future__ import annotations

from collections.abc import Iterable, Set
from typing import Final

from pipeline.source.classes import WEIGHTS_NAME
from pipeline.source.layout import PICKLES, SMALL_FILES, matches
from pipeline.source.variants import variants_among

READ: Final = (*SMALL_FILES, *PICKLES, "*.safetensors", "*.gguf", "*.onnx", "*.pb", "*.py")
CONFIGS: Final = ("*.json",)  # what every folder of a component has
DOCUMENTS: Final = "publish"  # has some too, and nothing loads them
INDEX: Final = "model_index.json"


def shadowing(beside: Iterable[str], checkpoint: Set[str]) -> list[str]:
    """Return which of the files beside a checkpoint would change what is loaded of it, sorted.

    Args:
        beside: The paths of files that are not the checkpoint's.
        checkpoint: The paths of its own.
    """
    parts = {name.rpartition("/")[::2] for name in checkpoint}
    apart_from = {DOCUMENTS, ""} if INDEX in checkpoint else {DOCUMENTS}  # the root of a single model is its folder
    folders = {folder for folder, file in parts if matches(file, CONFIGS)} - apart_from
    apart = {name: name.rpartition("/")[::2] for name in beside}
    return sorted(
        name
        for name, (folder, file) in apart.items()
        if name == INDEX or (folder in folders and matches(file, READ) and not is_variant(file))
    )


def is_variant(file: str) -> bool:
    """Return whether a file holds weights of a variant."""
    return any(variants_among([file], stem) for stem in WEIGHTS_NAME.values())

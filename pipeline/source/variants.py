"""Variants: the same weights in another precision or training state, and how the libraries spell their files.

Both libraries write ``model.fp16.safetensors``, or ``model.fp16-00001-of-00002.safetensors`` and its like with
``model.safetensors.index.fp16.json`` (``_add_variant`` in diffusers 0.42 and transformers 5.23). An older spelling is
still read by diffusers (``_fetch_index_file_legacy``, until its version 1): ``model-00001-of-00002.fp16.safetensors``
with ``model.safetensors.fp16.index.json``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from typing import Final

from pipeline.files import pretty_json
from pipeline.source.strict import read_index

OF: Final = r"-\d{5}-of-\d{5}"
INDEX_FILE: Final = re.compile(r".*\.index(\.[^.]+)?\.json")  # with a variant or without


def weights_file(stem: str, variant: str | None) -> str:
    """Return the name of a component's weights where they are one file."""
    return f"{stem}.{variant}.safetensors" if variant else f"{stem}.safetensors"


def index_files(library: str, stem: str, variant: str | None) -> tuple[str, ...]:
    """Return the names that the index of a component's shards may have, the one that a library prefers first."""
    if not variant:
        return (f"{stem}.safetensors.index.json",)
    older = (f"{stem}.safetensors.{variant}.index.json",) if library == "diffusers" else ()
    return (f"{stem}.safetensors.index.{variant}.json", *older)


def variants_among(files: Iterable[str], stem: str) -> list[str]:
    """Return the variants that the safetensors files of a component are of, sorted."""
    pattern = re.compile(rf"{stem}(?:{OF}\.([^.]+)|\.([^.]+?)(?:{OF})?)\.safetensors")
    return sorted({found[1] or found[2] for file in files if (found := pattern.fullmatch(file))})


def plain_name(path: str, variant: str | None) -> str:
    """Return the name under which a file is published: that of a weight file or an index without its variant."""
    if variant is None:
        return path
    name = re.escape(variant)
    for pattern in (
        rf"(.+)\.{name}((?:{OF})?\.safetensors)",
        rf"(.+\.safetensors\.index)\.{name}(\.json)",
        rf"(.+\.safetensors)\.{name}(\.index\.json)",
    ):
        if found := re.fullmatch(pattern, path):
            return found[1] + found[2]
    return path


def plain_index(content: bytes, variant: str | None, where: str) -> bytes:
    """Return the text of an index of shards that names them as they are published.

    Args:
        content: The index of a variant.
        variant: Its name.
        where: How the index is named in messages.

    Raises:
        SourceError: It is no such index.
    """
    mapping = read_index(content, where)
    plain = {tensor: plain_name(file, variant) for tensor, file in mapping.items()}
    return pretty_json({**json.loads(content), "weight_map": plain})

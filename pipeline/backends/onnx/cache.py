"""The cache of a decoder at the edge of its graph: keys and values of each layer, by the names of transformers.js."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    import torch

PAST: Final = "past_key_values."  # what a graph reads
PRESENT: Final = "present."  # what it returns, to be read as the past of the next call
SIDES: Final = ("key", "value")
BATCH: Final = "batch_size"  # transformers.js begins with a cache of this many rows and 0 in each other named dimension
LENGTH: Final = 2  # the dimension of an entry, (batch, heads, length, width), by which a cache grows


def names(layers: int, kind: str = "") -> list[str]:
    """Return the names of a cache's entries without what is before them.

    Args:
        layers: How many layers there are.
        kind: ``decoder.`` or ``encoder.``, where a layer has two of them.
    """
    return [f"{layer}.{kind}{side}" for layer in range(layers) for side in SIDES]


def of_tensors(tensors: Sequence[torch.Tensor]) -> Any:
    """Return transformers' cache that has these keys and values in turn; they are taken as they are."""
    from transformers import DynamicCache

    cache = DynamicCache()
    put(cache, tensors)
    return cache


def put(cache: Any, tensors: Iterable[torch.Tensor]) -> None:
    """Have keys and values in turn in place of those that a cache has."""
    pairs = zip(*[iter(tensors)] * len(SIDES), strict=True)
    for layer, (keys, values) in enumerate(pairs):
        while len(cache.layers) <= layer:
            cache.layers.append(cache.layer_class_to_replicate())
        cache.layers[layer].lazy_initialization(keys, values)
        cache.layers[layer].keys, cache.layers[layer].values = keys, values


def tensors_of(cache: Any) -> list[torch.Tensor]:
    """Return the keys and values of a cache in turn."""
    return [tensor for layer in cache.layers for tensor in (layer.keys, layer.values)]


def feeds(cache: Any, entries: Sequence[str], session: Any, batch: int) -> dict[str, Any]:
    """Return a cache as inputs of a session.

    Args:
        cache: One of transformers; None or an empty one before the first call.
        entries: Its `names`.
        session: The session, which knows how many heads there are, and how wide.
        batch: Rows of the call.
    """
    import numpy as np

    if cache is not None and cache.get_seq_length():
        return {PAST + name: tensor.numpy() for name, tensor in zip(entries, tensors_of(cache), strict=True)}
    shapes = {entry.name: entry.shape for entry in session.get_inputs()}
    return {PAST + name: np.zeros((batch, *_sizes(shapes[PAST + name][1:])), np.float32) for name in entries}


def _sizes(shape: Sequence[int | str]) -> list[int]:
    """Return dimensions, those that vary being 0."""
    return [size if isinstance(size, int) else 0 for size in shape]


def run(session: Any, given: Mapping[str, Any], entries: Sequence[str]) -> tuple[torch.Tensor, list[torch.Tensor]]:
    """Return the logits of a call, and entries of the cache after it by their `names`."""
    import torch

    answers = session.run(["logits", *(PRESENT + name for name in entries)], dict(given))
    logits, *present = map(torch.from_numpy, answers)
    return logits, present

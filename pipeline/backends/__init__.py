"""The quantization libraries: what each can be asked for, and the functions every one of them has.

A backend is a module that satisfies `Backend`. Importing it imports neither torch nor the library, so that
recipes can be checked and planned on a machine that has none of them.
"""

from __future__ import annotations

from collections.abc import Iterable

from pipeline.backends import bfl, bitsandbytes, comfy, compressed_tensors, gguf, onnx, quanto, torchao
from pipeline.backends.protocol import Backend, Layout, Loader, Options, Packed, Scheme, Streaming

# By the word of recipes, which is the ``quant_method`` of the library's checkpoints as well.
BACKENDS: dict[str, Backend] = {
    "bitsandbytes": bitsandbytes,
    "torchao": torchao,
    "quanto": quanto,
    "onnx": onnx,
    "gguf": gguf,
    "comfy": comfy,
    "bfl": bfl,
    "compressed-tensors": compressed_tensors,
}
# Those that can say what becomes of a weight; looking whether they do takes longer than asking them.
STREAMING: dict[str, Streaming] = {
    name: backend for name, backend in BACKENDS.items() if isinstance(backend, Streaming)
}
SCHEMES = {name: backend.SCHEMES for name, backend in BACKENDS.items()}
# Those whose artifact is a whole folder, and no single file that can lie beside another.
FOLDERS = frozenset(
    name
    for name, backend in BACKENDS.items()
    if any(loader.form.config or not loader.form.single for loader in backend.LOADERS.values())
)


def loaders(quantized: Iterable[tuple[str, str]]) -> list[Loader]:
    """Return how components are loaded, given of each the library and the ``quant_method``; known ones only."""
    known = [(library, BACKENDS[method]) for library, method in quantized if method in BACKENDS]
    return [backend.LOADERS[library] for library, backend in known if library in backend.LOADERS]


__all__ = [
    "BACKENDS",
    "FOLDERS",
    "SCHEMES",
    "STREAMING",
    "Backend",
    "Layout",
    "Loader",
    "Options",
    "Packed",
    "Scheme",
    "Streaming",
    "loaders",
]

"""The quantization libraries: what each can be asked for, and the functions every one of them has.

A backend is a module that satisfies `Backend`. Importing it imports neither torch nor the library, so that
recipes can be checked and planned on a machine that has none of them.
"""

from __future__ import annotations

from pipeline.backends import bitsandbytes, quanto, torchao
from pipeline.backends.protocol import Backend, Layout, Options, Packed, Scheme

BACKENDS: dict[str, Backend] = {
    "bitsandbytes": bitsandbytes,
    "torchao": torchao,
    "quanto": quanto,
}

SCHEMES = {name: backend.SCHEMES for name, backend in BACKENDS.items()}

__all__ = ["BACKENDS", "SCHEMES", "Backend", "Layout", "Options", "Packed", "Scheme"]

"""The rack of formats: the first that claims a model reads it."""

from __future__ import annotations

from typing import Final

from pipeline.lint.formats import (
    bfl,
    bitsandbytes,
    comfy,
    compressed_tensors,
    gguf,
    modelopt,
    onnx,
    plain,
    quanto,
    scaled,
    torchao,
)
from pipeline.lint.formats.protocol import Format, Reading
from pipeline.lint.subject import Subject

FORMATS: Final[dict[str, Format]] = {
    "gguf": gguf,
    "onnx": onnx,
    "comfy": comfy,
    "torchao": torchao,
    "bitsandbytes": bitsandbytes,
    "quanto": quanto,
    "compressed-tensors": compressed_tensors,
    "modelopt": modelopt,
    "bfl": bfl,
    "scaled-float8": scaled,
    "plain": plain,
}


def recognised(subject: Subject) -> tuple[str, Reading]:
    """Return in which format a model is, and what that makes of it."""
    name = next(name for name, form in FORMATS.items() if form.claims(subject))
    return name, FORMATS[name].read(subject)

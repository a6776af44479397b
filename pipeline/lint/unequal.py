"""Unequal: layers that servers load as one, and scales of whole tensors that differ between them."""

from __future__ import annotations

from collections.abc import Iterator

from pipeline.lint.faults import Fault, layer_of
from pipeline.lint.formats.protocol import Reading
from pipeline.lint.subject import Subject
from pipeline.source.fused import fused

TAKEN = "vLLM and sglang load them as one layer with one of the scales, so the others come out too loud or too quiet"
REMEDY = "Make it again with one scale for all of them, as llm-compressor does."


def unequal(subject: Subject, reading: Reading) -> Iterator[Fault]:
    """Yield the faults of layers of nvfp4 that servers fuse, of which each has a global scale of its own."""
    found: dict[str, dict[str, float]] = {}
    for weight in reading.weights if reading.fuses else ():
        scale, together = weight.parts.get("scale"), fused(layer_of(weight.name))
        there = subject.tensors.get(scale.name) if scale and together and "block scale" in weight.parts else None
        if there is not None and there.dtype == "F32" and there.size == 1:
            found.setdefault(together, {})[there.name] = float(subject.array(there.name).reshape(-1)[0])
    for scales in found.values():
        if len(set(scales.values())) > 1:
            (first, own), *others = scales.items()
            name, other = next((name, scale) for name, scale in others if scale != own)
            text = f"It is {own:.6g}, and {name} is {other:.6g}: {TAKEN}."
            yield subject.fault("scale-unequal", first, text, REMEDY, "warning")

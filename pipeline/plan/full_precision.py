"""Sources that somebody quantized before, told by what their files hold."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pipeline.errors import SourceError
from pipeline.source.classes import FULL_PRECISION
from pipeline.source.layout import Component, Place
from pipeline.source.safetensors import FLOATS, TensorInfo

MATRIX = 2  # axes, at least


def require_full_precision(
    place: Place, component: Component, config: Mapping[str, Any], slots: Mapping[str, Mapping[str, TensorInfo]]
) -> None:
    """Refuse a component whose weights are in a format of quantized ones, of which its config may say nothing.

    Args:
        place: Where it lies.
        component: The component.
        config: Its ``config.json``.
        slots: Its tensors, by file.

    Raises:
        SourceError: They are.
    """
    found = {name: (file, slot) for file, held in slots.items() for name, slot in held.items()}
    if all(slot.dtype in FLOATS or len(slot.shape) < MATRIX for _, slot in found.values()):
        return
    from pipeline.lint.formats import recognised  # numpy, which `publish check` does without
    from pipeline.lint.subject import Subject, Tensor

    tensors = {
        name: Tensor(name, slot.dtype, slot.shape, file, slot.begin, slot.end) for name, (file, slot) in found.items()
    }
    subject = Subject(component.name, "safetensors", tensors, {}, config, place.read, place.read_large)
    form, reading = recognised(subject)
    if form != "plain":
        reason = f"This {component.class_name} is quantized already: it is {reading.title}."
        raise SourceError(reason, where=f"{place.where}, {component.name}", remedy=FULL_PRECISION)

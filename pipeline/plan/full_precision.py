"""Sources that somebody quantized before, told by what their files hold."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pipeline.errors import SourceError
from pipeline.lint.formats import recognised
from pipeline.lint.subject import Subject, Tensor
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
    tensors = {
        name: Tensor(name, slot.dtype, slot.shape, file, slot.begin, slot.end)
        for file, held in slots.items()
        for name, slot in held.items()
    }
    if all(tensor.dtype in FLOATS or len(tensor.shape) < MATRIX for tensor in tensors.values()):
        return
    form, reading = recognised(Subject(component.name, "safetensors", tensors, {}, config, place.read))
    if form != "plain":
        reason = f"This {component.class_name} is quantized already: it is {reading.title}."
        raise SourceError(reason, where=f"{place.where}, {component.name}", remedy=FULL_PRECISION)

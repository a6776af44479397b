"""The layers as a plot: one lane for every kind of layer, one dot for every layer, at what is left of its signal."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, floor

from pipeline.tasks.protocol import IDENTICAL
from pipeline.validate.page.numbers import Axis, number
from pipeline.validate.report import LayerReport

NO_NUMBERS, LEFT, RIGHT, SAME = 3.0, 8.0, 90.0, 96.0  # percent of a lane; decibels are drawn between two of them
LEAST_SPAN = 8  # decibels
HEIGHT = 22  # of a lane, in pixels


@dataclass(frozen=True)
class Dot:
    """One layer.

    Attributes:
        x: From the left, in percent of the lane.
        y: From the top, in pixels; a layer that is deeper in the model is further down.
        kind: How it is drawn.
        tells: What it says when somebody points at it.
    """

    x: float
    y: float
    kind: str
    tells: str


@dataclass(frozen=True)
class Plot:
    """The whole plot.

    Attributes:
        parts: By component and by kind of layer the dots of a lane; in both, what lost most is on top.
        grid: Where decibels stand, in percent.
        labels: What is written there, and where answers are identical or no numbers, if any is.
        layers: Every layer that the plot is about, as the report orders them.
        silent: How many layers were kept and answer exactly as the source's; they have no lane.
    """

    parts: dict[str, dict[str, list[Dot]]]
    grid: list[float]
    labels: list[tuple[float, str]]
    layers: list[LayerReport]
    silent: int


def plot(layers: Sequence[LayerReport]) -> Plot:
    """Lay out the plot of these layers, the worst of them first."""
    told = [layer for layer in layers if not _is_silent(layer)]
    axis = _axis([layer.sqnr for layer in told if layer.sqnr is not None and layer.sqnr < IDENTICAL])
    lanes: dict[str, dict[str, list[LayerReport]]] = {}
    for layer in told:
        lanes.setdefault(layer.component, {}).setdefault(kind_of(layer.name), []).append(layer)
    parts = {component: {name: _dots(lane, axis) for name, lane in kinds.items()} for component, kinds in lanes.items()}
    places = {dot.x for kinds in parts.values() for dots in kinds.values() for dot in dots}
    ticks = axis.ticks if places - {NO_NUMBERS, SAME} else []
    extremes = [(at, label) for at, label in ((SAME, "same"), (NO_NUMBERS, "NaN")) if at in places]
    return Plot(
        parts=parts,
        grid=[axis.at(tick) for tick in ticks],
        labels=[*((axis.at(tick), number(tick)) for tick in ticks), *extremes],
        layers=told,
        silent=len(layers) - len(told),
    )


def kind_of(name: str) -> str:
    """Return a layer's name with a star for every number between dots."""
    return re.sub(r"(?<![^.])\d+(?![^.])", "*", name)


def _is_silent(layer: LayerReport) -> bool:
    return not layer.quantized and not layer.fault and layer.sqnr is not None and layer.sqnr >= IDENTICAL


def _depth(layer: LayerReport) -> list[int]:
    return [int(part) for part in re.findall(r"\d+", layer.name)]


def _dots(lane: Sequence[LayerReport], axis: Axis) -> list[Dot]:
    deep = sorted(lane, key=_depth)
    step = (HEIGHT - 10) / max(len(deep) - 1, 1)
    top = 5 if len(deep) > 1 else HEIGHT / 2
    dots = [
        Dot(_x(layer, axis), round(top + step * index, 1), _kind(layer), tells(layer))
        for index, layer in enumerate(deep)
    ]
    return sorted(dots, key=lambda dot: dot.x)


def _kind(layer: LayerReport) -> str:
    return "faulty" if layer.fault else "quantized" if layer.quantized else "kept"


def tells(layer: LayerReport) -> str:
    """Return what is known of a layer, in a sentence."""
    how = "quantized" if layer.quantized else "kept"
    if layer.sqnr is None:
        left = "answers no numbers"
    else:
        left = "answers as the source's" if layer.sqnr >= IDENTICAL else number(layer.sqnr, "dB")
    made = f", its weights {number(layer.made, 'dB')} when made" if layer.made is not None else ""
    return f"{layer.component} {layer.name}: {left}{made}; {how}{f'; {layer.fault}' if layer.fault else ''}"


def _x(layer: LayerReport, axis: Axis) -> float:
    if layer.sqnr is None:
        return NO_NUMBERS
    return SAME if layer.sqnr >= IDENTICAL else axis.at(layer.sqnr)


def _axis(decibels: Sequence[float]) -> Axis:
    """Return an axis that holds all of these and is not so short that small differences look large."""
    low, high = floor(min(decibels, default=0)), ceil(max(decibels, default=0))
    room = max(LEAST_SPAN - (high - low), 0)
    return Axis(low - room // 2, high + room - room // 2, LEFT, RIGHT)

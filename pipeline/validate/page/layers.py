"""The layers as a plot: one lane for every kind of layer, one dot for every layer, at what is left of its signal."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, floor

from pipeline.tasks.protocol import IDENTICAL
from pipeline.validate.page.numbers import number
from pipeline.validate.report import LayerReport

LEFT, RIGHT = 8.0, 90.0  # percent of a lane between which decibels are drawn; beyond stand the two extremes
NO_NUMBERS, SAME = 3.0, 96.0
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
class Lane:
    """The layers of one component whose names differ in numbers only."""

    name: str
    dots: tuple[Dot, ...]


@dataclass(frozen=True)
class Plot:
    """The whole plot.

    Attributes:
        parts: The lanes of each component; in both, what lost most is on top.
        ticks: Decibels and where they stand, in percent.
        layers: Every layer that the plot is about, as the report orders them.
        silent: How many layers were kept and answer exactly as the source's; they have no lane.
        quantized: How many layers were quantized.
        faulty: How many layers are at fault.
        identical: Whether a dot stands where answers are identical.
        broken: Whether a dot stands where answers are no numbers.
    """

    parts: dict[str, tuple[Lane, ...]]
    ticks: tuple[tuple[int, float], ...]
    layers: tuple[LayerReport, ...]
    silent: int
    quantized: int
    faulty: int
    identical: bool
    broken: bool


def plot(layers: Sequence[LayerReport]) -> Plot:
    """Lay out the plot of these layers, the worst of them first."""
    told = [layer for layer in layers if not _is_silent(layer)]
    scale = [layer.sqnr for layer in told if layer.sqnr is not None and layer.sqnr < IDENTICAL]
    low, high = _ends(scale)
    kinds: dict[str, dict[str, list[LayerReport]]] = {}
    for layer in told:
        kinds.setdefault(layer.component, {}).setdefault(kind_of(layer.name), []).append(layer)
    return Plot(
        parts={
            component: tuple(Lane(name, _dots(lane, low, high)) for name, lane in lanes.items())
            for component, lanes in kinds.items()
        },
        ticks=tuple((tick, _place(tick, low, high)) for tick in _ticks(low, high)) if scale else (),
        layers=tuple(told),
        silent=len(layers) - len(told),
        quantized=sum(layer.quantized for layer in layers),
        faulty=sum(bool(layer.fault) for layer in layers),
        identical=any(layer.sqnr is not None and layer.sqnr >= IDENTICAL for layer in told),
        broken=any(layer.sqnr is None for layer in told),
    )


def kind_of(name: str) -> str:
    """Return a layer's name with a star for every number between dots."""
    return re.sub(r"(?<![^.])\d+(?![^.])", "*", name)


def _is_silent(layer: LayerReport) -> bool:
    return not layer.quantized and not layer.fault and layer.sqnr is not None and layer.sqnr >= IDENTICAL


def _depth(layer: LayerReport) -> list[int]:
    return [int(part) for part in re.findall(r"\d+", layer.name)]


def _dots(lane: Sequence[LayerReport], low: int, high: int) -> tuple[Dot, ...]:
    deep = sorted(lane, key=_depth)
    step = (HEIGHT - 10) / max(len(deep) - 1, 1)
    top = 5 if len(deep) > 1 else HEIGHT / 2
    dots = [
        Dot(_x(layer, low, high), round(top + step * index, 1), _kind(layer), tells(layer))
        for index, layer in enumerate(deep)
    ]
    return tuple(sorted(dots, key=lambda dot: dot.x))


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


def _x(layer: LayerReport, low: int, high: int) -> float:
    if layer.sqnr is None:
        return NO_NUMBERS
    return SAME if layer.sqnr >= IDENTICAL else _place(layer.sqnr, low, high)


def _place(decibels: float, low: int, high: int) -> float:
    return round(LEFT + (RIGHT - LEFT) * (decibels - low) / (high - low), 2)


def _ends(scale: Sequence[float]) -> tuple[int, int]:
    """Return whole ends of a scale that holds all of these and is not so short that small differences look large."""
    if not scale:
        return 0, 50
    low, high = floor(min(scale)), ceil(max(scale))
    room = max(LEAST_SPAN - (high - low), 0)
    return low - room // 2, high + room - room // 2


def _ticks(low: int, high: int) -> range:
    step = next(step for step in (1, 2, 5, 10, 20, 50) if (high - low) / step <= 8 or step == 50)
    return range(step * ceil(low / step), high + 1, step)

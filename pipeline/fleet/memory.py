"""The ways in which a pipeline can share its weights between a device and the processor's memory, and what each takes.

All of it is reckoned, but where a report says what a process took when the checkpoint was judged.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Final, Literal

from pipeline.backends.available import Card
from pipeline.files import human_size
from pipeline.fleet.needs import Needs
from pipeline.plan.footprint import RESERVE
from pipeline.plan.model import PIPELINE_MEMORY

HOW: Final = {
    "none": "with all of it on the device",
    "model": "with one component at a time on the device",
    "sequential": "with one layer at a time on the device",
    "cpu": "on the processor",
}
WAYS: Final = {  # as the heading of a line
    "none": "all on the card",
    "model": "one component at a time",
    "sequential": "one layer at a time",
    "cpu": "on the processor",
}


@dataclass(frozen=True)
class Mode:
    """One way to run a model.

    Attributes:
        name: How weights are offloaded from a device: ``none``, ``model`` or ``sequential``; ``cpu`` without a device.
        line: The line of Python that does it, once the model is loaded.
        device_bytes: Bytes that it takes of the device.
        memory_bytes: Bytes that it takes of the processor's memory.
        known: Whether the first of them was measured when the checkpoint was judged.
        lacks: What keeps it from running here; empty where nothing does.
    """

    name: str
    line: str
    device_bytes: int
    memory_bytes: int
    known: Literal["measured", "reckoned"] = "reckoned"
    lacks: str = ""

    @property
    def words(self) -> str:
        """What it takes, and what keeps it from running, as a text."""
        device = f"{human_size(self.device_bytes)} of the device and " if self.device_bytes else ""
        lacks = f"; {self.lacks}" if self.lacks else ""
        return f"{device}{human_size(self.memory_bytes)} of memory, {self.known}{lacks}"


@dataclass(frozen=True)
class Room:
    """What there is to run a model in.

    Attributes:
        card: The GPU; None where there is none.
        memory: Bytes of the processor's memory that are free; None where nothing tells.
    """

    card: Card | None
    memory: int | None


def modes(needs: Needs, room: Room) -> list[Mode]:
    """Return the ways to run a model with this card, or without one, the fastest first."""
    found = [*of_card(needs, room.card)] if room.card and needs.devices != {"cpu"} else []
    return [fitted(mode, needs, room) for mode in (*found, on_processor(needs))]


def of_card(needs: Needs, card: Card) -> Iterator[Mode]:
    """Yield the ways to run a model with a card."""
    sizes, name = {part: found.size for part, found in needs.parts.items()}, "pipe" if needs.pipeline else "model"
    through, line = PIPELINE_MEMORY + needs.weights - needs.onto_gpu, f'{name}.to("{card.kind}")'
    if needs.judged and needs.judged.peak_device_bytes:
        yield Mode("none", line, needs.judged.peak_device_bytes + RESERVE, through, "measured")
    else:
        yield Mode("none", line, needs.weights + needs.activations + RESERVE, through)
    if needs.footprint is None or card.kind == "mps":  # whose memory is the processor's
        return
    held, loading, taken = PIPELINE_MEMORY + needs.weights, needs.onto_gpu + RESERVE, needs.footprint.memory(sizes)
    yield Mode("model", "pipe.enable_model_cpu_offload()", max(taken["model"].total, loading), held)
    yield Mode("sequential", "pipe.enable_sequential_cpu_offload()", max(taken["sequential"].total, loading), held)


def on_processor(needs: Needs) -> Mode:
    """Return what it takes to run a model without a GPU."""
    line = needs.line or f'{"pipe" if needs.pipeline else "model"}.to("cpu")'
    if needs.confined:
        return Mode("cpu", line, 0, needs.confined, "measured")
    if needs.judged and needs.judged.device == "cpu":
        return Mode("cpu", line, 0, needs.judged.peak_memory_bytes, "measured")
    return Mode("cpu", line, 0, PIPELINE_MEMORY + needs.weights + needs.activations)


def fitted(mode: Mode, needs: Needs, room: Room) -> Mode:
    """Return a mode with what keeps it from running in a room."""
    return replace(mode, lacks="; ".join(lacking(mode, needs, room)))


def lacking(mode: Mode, needs: Needs, room: Room) -> Iterator[str]:
    """Say what keeps a mode from running in a room."""
    kind = "cpu" if mode.name == "cpu" or room.card is None else room.card.kind
    if kind not in needs.devices:
        yield f"it loads onto {' or '.join(sorted(needs.devices))} only"
    elif kind == "cuda" and room.card and (room.card.capability or needs.capability) < needs.capability:
        yield f"the card has compute capability {room.card.capability}, and {needs.capability} is needed"
    if room.card and room.card.memory is not None and mode.device_bytes > room.card.memory:
        yield f"the card has {human_size(room.card.memory)}"
    if room.memory is not None and mode.memory_bytes > room.memory:
        yield f"{human_size(room.memory)} of memory are free"

"""Asks a source and watches what its layers are given meanwhile; a process of its own, started by `inputs`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import partial
from math import isfinite
from pathlib import Path
from typing import Any

from pipeline.backends.grid import outwards
from pipeline.tasks.calibration import ask_all
from pipeline.tasks.protocol import LoadedModel
from pipeline.worker.child import Tell, WorkerError, serve
from pipeline.worker.startup import gc_paused


class Watch:
    """The largest absolute value that each Linear layer of some components was given so far.

    Of what a layer is given two numbers are kept, so that memory holds the model and nothing more.
    """

    def __init__(self, components: Sequence[str]) -> None:
        self._components = components
        self._largest: dict[str, dict[str, Any]] = {name: {} for name in components}

    def __call__(self, loaded: LoadedModel) -> None:
        """Begin to watch a model."""
        import torch

        for component in self._components:
            for name, module in loaded.components[component].named_modules():
                if isinstance(module, torch.nn.Linear):
                    module.register_forward_pre_hook(
                        partial(self._note, self._largest[component], name), with_kwargs=True
                    )

    def _note(self, largest: dict[str, Any], name: str, _module: Any, given: Any, named: Any) -> None:
        import torch

        values = given[0] if given else named["input"]
        if values.numel():
            least, most = torch.aminmax(values.detach())  # NaN among them is what both are
            found = torch.maximum(most.abs(), least.abs()).float()
            largest[name] = torch.maximum(largest[name], found) if name in largest else found

    def found(self) -> dict[str, dict[str, float]]:
        """Return what was seen, a little larger, so that processors rarely differ in it.

        Raises:
            WorkerError: A layer was given what is no number.
        """
        values = {part: {name: float(one) for name, one in found.items()} for part, found in self._largest.items()}
        for part, found in values.items():
            if broken := next((name for name, one in found.items() if not isfinite(one)), ""):
                what = f"{part} computes NaN or infinity for the layer {broken!r} while it answers a question."
                raise WorkerError("source", what, "Choose a scheme that needs no questions, and look at the source.")
        return {part: {name: outwards(one) for name, one in found.items()} for part, found in values.items()}


def say(text: str, tell: Tell) -> dict[str, Any]:
    """Return what the layers of each component were given, or why that is not known."""
    job = json.loads(text)
    watch = Watch(job["components"])
    try:
        with gc_paused():
            ask_all(Path(job["model"]), job["request"], watch, tell)
        return {"inputs": watch.found()}
    except WorkerError as refusal:
        return refusal.said


if __name__ == "__main__":
    serve(say)

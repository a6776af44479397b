"""The kinds of models that have graphs: which a model is of, its graphs, and how it answers by them."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Protocol

from pipeline.backends.onnx import decoder, encoder, seq2seq
from pipeline.backends.onnx.graphs import Graph
from pipeline.worker.child import WorkerError


class Kind(Protocol):
    """A module that stands for one kind of models."""

    @property
    def NAMES(self) -> tuple[str, ...]:  # noqa: N802  a module's constant
        """The names of its graphs, before what says how they are quantized."""

    def fits(self, model: Any) -> bool:
        """Return whether a model of transformers, perhaps on the meta device, is of this kind."""

    def graphs(self, model: Any) -> Sequence[Graph]:
        """Return the graphs of a model."""

    def answers(self, model: Any, sessions: Mapping[str, Any]) -> Mapping[str, Callable[..., Any]]:
        """Return what takes the place of ``forward`` of a model's modules, by onnxruntime's sessions of its graphs.

        Args:
            model: The model, on the meta device.
            sessions: The sessions by `NAMES`.

        Returns:
            Functions of what ``forward`` takes, all by its names, by the module; the model itself has no name.
        """


KINDS: Final[Sequence[Kind]] = (encoder, decoder, seq2seq)


def kind_of(model: Any) -> Kind:
    """Return the kind that a model is of.

    Raises:
        WorkerError: No kind fits.
    """
    for kind in KINDS:
        if kind.fits(model):
            return kind
    what = f"No graph is known for {type(model).__name__}, which takes {model.main_input_name}."
    raise WorkerError("library", what, "Choose another backend for this component.")


def chosen(names: Sequence[str], files: Sequence[Path]) -> dict[str, Path]:
    """Return the file of each graph by its name: a folder may have graphs of several dtypes, and one was made.

    Args:
        names: Of the graphs that a model of a kind has.
        files: Those in a folder; where the kind has one graph, it may be called anything.

    Raises:
        WorkerError: There is none of a graph, or more than one may be meant.
    """
    if len(names) == len(files) == 1:
        return {names[0]: files[0]}
    found = {name: [file for file in files if re.fullmatch(rf"{re.escape(name)}(_.+)?", file.stem)] for name in names}
    for name, meant in found.items():
        if not meant:
            there = ", ".join(file.name for file in files)
            what = f"The graph {name} is missing; there is {there}."
            raise WorkerError("source", what, f"Put {name}.onnx, or that of another dtype, beside it.")
        if len(meant) > 1:
            what = f"Each of {', '.join(file.name for file in meant)} may be what is loaded, and one can be judged."
            raise WorkerError("source", what, "Judge one at a time: leave the others out of the folder.")
    return {name: file for name, (file,) in found.items()}

"""The kinds of models that have graphs: which a model is of, its graphs, and how it answers by them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Protocol

from pipeline.backends.onnx import decoder, encoder, seq2seq
from pipeline.backends.onnx.graphs import Graph
from pipeline.worker.child import WorkerError


class Kind(Protocol):
    """A module that stands for one kind of models."""

    def fits(self, model: Any) -> bool:
        """Return whether a model of transformers, perhaps on the meta device, is of this kind."""

    def graphs(self, model: Any) -> Sequence[Graph]:
        """Return the graphs of a model."""

    def answers(self, model: Any, sessions: Mapping[str, Any]) -> Mapping[str, Callable[..., Any]]:
        """Return what takes the place of ``forward`` of a model's modules, by onnxruntime's sessions of its graphs.

        Args:
            model: The model, on the meta device.
            sessions: The sessions by the names of the graphs.

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

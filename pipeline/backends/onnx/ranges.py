"""Ranges of what a model's matrices are given, seen while its graphs answer questions in float32.

onnxruntime's own calibrators are not asked: they pass over NaN without a word, and take infinity for the range of a
matrix that is given no rows, as those of Whisper's cross-attention are after the first token.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import product
from math import isfinite
from pathlib import Path
from typing import Any, Final

from pipeline.backends.grid import outwards
from pipeline.backends.onnx.runtime import OPENS, session_of
from pipeline.worker.child import WorkerError

Range = tuple[float, float]
SEEN: Final = ("ReduceMin", "ReduceMax", "ReduceL1")  # the last of a sum, which NaN and infinity do get into


def ranges(
    matrices: Mapping[str, Sequence[str]], folder: Path, ask: Callable[[Path], None]
) -> dict[str, dict[str, Range]]:
    """Return by the name of each graph the range of what each of its matrices was given, by the name of the tensor.

    Args:
        matrices: By the name of each graph, the tensors that its matrices are given.
        folder: The model in float32, as `runtime.opened` reads it.
        ask: Has a model in a folder answer.

    Raises:
        WorkerError: Something is no number, or nobody asked a graph anything.
    """
    opened: dict[str, Watched] = {}

    def watch(path: Path) -> Watched:
        return opened.setdefault(path.stem, Watched(path, matrices[path.stem]))

    before = OPENS.set(watch)
    try:
        ask(folder)
    finally:
        OPENS.reset(before)
    return {name: one.found() for name, one in opened.items()}


class Watched:
    """A session of a graph which tells the ranges of some of its tensors as well; it is called as any session is."""

    def __init__(self, path: Path, tensors: Sequence[str]) -> None:
        import onnx

        self.name, self.tensors = path.name, tensors
        self.ranges: dict[str, Range] = {}
        model = onnx.load(path, load_external_data=False)
        self.outputs = [output.name for output in model.graph.output]
        for kind, tensor in product(SEEN, tensors):
            seen = f"{tensor}/{kind}"
            model.graph.node.append(onnx.helper.make_node(kind, [tensor], [seen], keepdims=0))
            model.graph.output.append(onnx.helper.make_tensor_value_info(seen, onnx.TensorProto.FLOAT, ()))
        watched = path.with_stem(f"{path.stem}-watched")
        onnx.save(model, watched)
        self.session = session_of(watched)
        watched.unlink()
        self.get_inputs = self.session.get_inputs

    def get_outputs(self) -> list[Any]:
        """Return what the graph itself answers."""
        return [output for output in self.session.get_outputs() if output.name in self.outputs]

    def run(self, names: Sequence[str] | None, given: Mapping[str, Any]) -> list[Any]:
        """Return what the graph answers, and widen the ranges by what its matrices were given meanwhile."""
        wanted = names or self.outputs
        seen = [f"{tensor}/{kind}" for tensor in self.tensors for kind in SEEN]
        answers: list[Any] = self.session.run([*wanted, *seen], given)
        values = map(float, answers[len(wanted) :])
        for tensor, *found in zip(self.tensors, values, values, values, strict=True):
            self.widen(tensor, *found)
        return answers[: len(wanted)]

    def widen(self, tensor: str, least: float, most: float, size: float) -> None:
        """Widen a range by what was seen in one call."""
        if not isfinite(size):
            what = f"{self.name} computes NaN or infinity for {tensor} while it answers a question."
            raise WorkerError("source", what, "Choose a scheme that needs no questions, and look at this component.")
        if least <= most:  # else it has no values
            known = self.ranges.get(tensor, (0.0, 0.0))
            self.ranges[tensor] = min(known[0], least), max(known[1], most)

    def found(self) -> dict[str, Range]:
        """Return the ranges, each end a little farther out, so that processors rarely differ in them.

        Raises:
            WorkerError: A matrix was given nothing.
        """
        for tensor in self.tensors:
            if tensor not in self.ranges:
                what = f"No question has {self.name} compute {tensor}, so that nothing tells its range."
                raise WorkerError("recipe", what, "Ask other questions, or choose a scheme that needs none.")
        return {name: (outwards(least), outwards(most)) for name, (least, most) in self.ranges.items()}

"""Where the tensors of a file to be written lie."""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.source.safetensors import TensorInfo


@dataclass(frozen=True)
class FileLayout:
    """Where the tensors of a file to be written lie, in bytes from the end of its header.

    Attributes:
        slots: The tensors whose shape is known, in the order of their places.
        ragged: Where those begin that come in any order.
        end: Where the last of them ends.
        late: The tensors whose shape only their content tells; they lie behind, in this order.
    """

    slots: dict[str, TensorInfo]
    ragged: int
    end: int
    late: tuple[str, ...] = ()

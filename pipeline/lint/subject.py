"""Subjects: the models in a folder or repository, each with all tensors of its files under one roof.

A model is one file, or the shards that an index or their names hold together. Of a quantized weight the codes may lie
in one shard and the scales in the next, so formats look at the whole.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from math import prod
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np

from pipeline.kernels.ggml import TYPES
from pipeline.lint.faults import Fault, Level
from pipeline.source.disk import Forward
from pipeline.source.onnx import Node
from pipeline.source.safetensors import DTYPE_SIZES

if TYPE_CHECKING:
    from numpy.typing import NDArray

Container = Literal["safetensors", "gguf", "onnx"]
ReadFile = Callable[[str, int, int], bytes]
"""Reads of a file, from an offset, so many bytes."""
Content = bytes | memoryview
ReadLarge = Callable[[str, int, int, memoryview], Content]
"""Reads likewise, once: into a block where that spares copies."""

LARGEST_PART: Final = 256 << 20  # bytes; what is read whole, such as the scales of one weight
WORD: Final = 8  # bytes of the largest element, at a multiple of which it is to lie in memory

VOCABULARIES: Final = ("embed_tokens.weight", "shared.weight", "wte.weight", "embeddings.weight", "lm_head.weight")
HEADS: Final = (*VOCABULARIES, "proj_out.weight", "decoder.weight")
"""Weights that are often one and the same, of which a file holds any one."""

NUMPY: Final = {
    "F64": np.float64, "F32": np.float32, "F16": np.float16, "BF16": np.uint16, "F8_E4M3": np.uint8,
    "F8_E5M2": np.uint8, "F8_E8M0": np.uint8, "I64": np.int64, "I32": np.int32, "I16": np.int16, "I8": np.int8,
    "U64": np.uint64, "U32": np.uint32, "U16": np.uint16, "U8": np.uint8, "BOOL": np.uint8,
}  # fmt: skip
"""How the elements of a dtype come: bfloat16 and the small floats as their bits."""


@dataclass(frozen=True)
class Tensor:
    """A tensor of a file.

    Attributes:
        name: As the file calls it.
        dtype: As safetensors spells it; of GGUF the name of ggml's type.
        shape: In values, rows first.
        file: By its path in what is looked at.
        begin: Its first byte in the file.
        end: The byte behind its last one.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    file: str
    begin: int
    end: int

    @property
    def size(self) -> int:
        """How many values it has."""
        return prod(self.shape)

    @property
    def ends(self) -> tuple[int, int]:
        """Its first axis and its last one; 1 where it has none."""
        return (self.shape[0], self.shape[-1]) if self.shape else (1, 1)

    def bytes_of(self, count: int) -> int:
        """Return how many bytes so many values take; of GGUF, whole blocks."""
        if kind := TYPES.get(self.dtype):
            return count // kind.block * kind.size
        return count * DTYPE_SIZES[self.dtype]


@dataclass(frozen=True)
class Subject:
    """A model to be looked at.

    Attributes:
        name: The file, or the index that holds its shards together.
        container: How its tensors are kept.
        tensors: All of its tensors by name.
        metadata: What the headers say beside; of shards, of the first that says it.
        config: What ``config.json`` beside it says; empty where there is none.
        read: Reads the files.
        read_large: Reads of them what nobody will read again.
        faults: What is wrong with its files.
        nodes: Those of a graph.
    """

    name: str
    container: Container
    tensors: Mapping[str, Tensor]
    metadata: Mapping[str, Any]
    config: Mapping[str, Any]
    read: ReadFile
    read_large: ReadLarge
    faults: tuple[Fault, ...] = ()
    nodes: tuple[Node, ...] = field(default=(), repr=False)

    @property
    def quantization_config(self) -> Mapping[str, Any]:
        """The ``quantization_config`` of its configuration."""
        found = self.config.get("quantization_config")
        return found if isinstance(found, dict) else {}

    @property
    def method(self) -> str:
        """The method that its configuration names."""
        found = self.quantization_config.get("quant_method", "")
        return found if isinstance(found, str) else ""

    def bytes(self, tensor: Tensor, begin: int = 0, end: int | None = None) -> bytes:
        """Return bytes of a tensor; fewer where its file ends before."""
        last = tensor.end if end is None else min(tensor.begin + end, tensor.end)
        return self.read(tensor.file, tensor.begin + begin, last - tensor.begin - begin)

    def large(self, tensor: Tensor, begin: int, end: int, block: memoryview) -> Content:
        """Return bytes of a tensor that nobody will ask for again, until the block is used for others."""
        length, place = min(end, tensor.end - tensor.begin) - begin, tensor.begin + begin
        if Forward.room(length) > len(block) or place % WORD:  # in memory it lies as in the file's pages
            return self.bytes(tensor, begin, end)
        return self.read_large(tensor.file, place, length, block)

    def array(self, name: str) -> NDArray[Any]:
        """Return a tensor whole, bfloat16 and the small floats as their bits; ask of none above `LARGEST_PART`."""
        tensor = self.tensors[name]
        return np.frombuffer(self.bytes(tensor), NUMPY[tensor.dtype]).reshape(tensor.shape)

    def is_tied(self, name: str) -> bool:
        """Return whether a weight that is not there may be another one's: the head of a model, its vocabulary."""
        return name.endswith(HEADS) and any(other.endswith(VOCABULARIES) for other in self.tensors)

    def fault(self, rule: str, tensor: str, text: str, remedy: str = "", level: Level = "error") -> Fault:
        """Return a fault of a tensor, or of the model where none is named or there."""
        found = self.tensors.get(tensor)
        return Fault(rule, text, found.file if found else self.name, tensor, remedy, level)

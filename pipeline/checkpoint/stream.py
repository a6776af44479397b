"""Streams a component: one tensor after another from the source's files through a backend into the result's shards.

Memory holds one tensor and what it was turned into, whatever the size of the model. The result's bytes depend on the
source, the scheme and the versions only.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol

from pipeline.checkpoint.linears import Answer, Conversion
from pipeline.checkpoint.safetensors import DTYPE_SIZES, METADATA_ROOM, Slot, Writer, size_of
from pipeline.errors import SourceError
from pipeline.files import pretty_json

if TYPE_CHECKING:
    import torch

TORCH_DTYPES: Final = {
    "F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16", "I64": "int64", "I32": "int32",
    "I16": "int16", "I8": "int8", "U8": "uint8", "U16": "uint16", "U32": "uint32", "U64": "uint64", "BOOL": "bool",
    "F8_E4M3": "float8_e4m3fn", "F8_E5M2": "float8_e5m2",
}  # fmt: skip
STORED_DTYPES: Final = {name: stored for stored, name in TORCH_DTYPES.items()}
SHARD_LIMIT: Final = {"diffusers": 10 * 10**9, "transformers": 50 * 10**9}  # bytes; the libraries' own defaults
WEIGHTS_NAME: Final = {"diffusers": "diffusion_pytorch_model", "transformers": "model"}

WHOLE: Final = "Ask the source's publisher for a whole one, or pin a commit that has it."

Specs = dict[str, tuple[str, tuple[int, ...] | None]]
"""Safetensors dtype and shape by name; the shape is None where only the content tells it."""


class Packer(Protocol):
    """A backend with its scheme: what it makes of a weight, and what the header's metadata says of all of them."""

    def pack(self, name: str, weight: torch.Tensor) -> tuple[Mapping[str, torch.Tensor], str | None]:
        """Quantize one weight; return the tensors that are saved for it and its metadata."""

    def metadata(self, parameters: list[str], packed: Mapping[str, str]) -> dict[str, str]:
        """Return the header's metadata, given the model's parameters and the metadata of its quantized weights."""


@dataclass(frozen=True)
class Shard:
    """One file of the result: the source tensors that it takes, and the tensors that it holds."""

    name: str
    sources: tuple[str, ...]
    tensors: Specs


@dataclass
class Weights:
    """The result of one component: its shards by file name, and where each tensor lies.

    Attributes:
        shards: The files, in order.
        size: Bytes of all tensors.
    """

    shards: list[Shard] = field(default_factory=list)
    size: int = 0

    def index(self) -> bytes | None:
        """Return the text of the index file that the libraries read, or None where one file holds all."""
        if len(self.shards) == 1:
            return None
        weight_map = {name: shard.name for shard in self.shards for name in shard.tensors}
        return pretty_json({"metadata": {"total_size": self.size}, "weight_map": weight_map})


def lay_out(
    answer: Answer, slots: Mapping[str, Slot], layouts: Mapping[str, Specs], library: str, limit: int = 0
) -> Weights:
    """Decide which tensors the result holds and in which file each lies.

    Follows the libraries' greedy rule in the order of the model, except that a weight and its statistics are never
    parted: diffusers does part them, and then cannot load what it wrote.

    Args:
        answer: What the library makes of the component.
        slots: The source's tensors by name.
        layouts: For every quantized tensor, what is saved for it.
        library: ``diffusers`` or ``transformers``.
        limit: Bytes a file may hold; the library's own default where it is 0.
    """
    groups = {
        name: layouts.get(name) or {name: (stored_as(conversion, slots[name]), slots[name].shape)}
        for name, conversion in answer.conversions.items()
    }
    bins: list[list[str]] = [[]]
    filled = 0
    sizes = {name: sum(nominal_size(*tensor) for tensor in group.values()) for name, group in groups.items()}
    for name, size in sizes.items():
        if bins[-1] and filled + size > (limit or SHARD_LIMIT[library]):
            bins.append([])
            filled = 0
        bins[-1].append(name)
        filled += size
    stem, count = WEIGHTS_NAME[library], len(bins)
    weights = Weights(size=sum(sizes.values()))
    for number, names in enumerate(bins, start=1):
        suffix = "" if count == 1 else f"-{number:05d}-of-{count:05d}"
        tensors = {tensor: spec for name in names for tensor, spec in groups[name].items()}
        weights.shards.append(Shard(f"{stem}{suffix}.safetensors", tuple(names), tensors))
    return weights


def stored_as(conversion: Conversion, slot: Slot) -> str:
    """Return the safetensors dtype of a tensor that is not quantized."""
    return STORED_DTYPES.get(conversion.dtype, slot.dtype)


def nominal_size(dtype: str, shape: tuple[int, ...] | None) -> int:
    """Return the bytes of a tensor; some hundred where only its content tells."""
    return 128 if shape is None else size_of(dtype, shape)


@dataclass(frozen=True)
class WeightFile:
    """One safetensors file of the source and its checked header; ``where`` names it in messages."""

    path: Path
    slots: Mapping[str, Slot]
    where: str = ""


def stream(
    files: Iterable[WeightFile], answer: Answer, weights: Weights, out: Path, packer: Packer
) -> Iterator[tuple[str, int]]:
    """Write the shards of a component and yield every source tensor's name and bytes as it is done.

    Args:
        files: The source's files; each is read once, front to back.
        answer: What the library makes of the component.
        weights: What goes where.
        out: The folder of the result.
        packer: Quantizes one weight.

    Raises:
        SourceError: A weight holds NaN or Inf.
        QuantizationError: The backend made something else than planned.
        CannotHereError: The disk is full.
    """
    room = metadata_room(answer, packer)
    writers = {shard.name: Writer(out / shard.name, shard.tensors, room) for shard in weights.shards}
    place = {name: writers[shard.name] for shard in weights.shards for name in shard.sources}
    said: dict[str, str] = {}
    try:
        for file in files:
            for name, tensor in read_tensors(file, answer.conversions):
                conversion = answer.conversions[name]
                tensors = {name: tensor}
                if conversion.quantized:
                    packed, entry = packer.pack(name, tensor.T if conversion.transposed else tensor)
                    tensors = dict(packed)
                    if entry is not None:
                        said[conversion.parameter] = entry
                for written, value in tensors.items():
                    put(place[name], written, value)
                yield name, file.slots[name].end - file.slots[name].begin
        metadata = packer.metadata(list(answer.parameters), said)
        for writer in writers.values():
            writer.finish(metadata)
    finally:
        for writer in writers.values():
            writer.close()


def metadata_room(answer: Answer, packer: Packer) -> int:
    """Return the bytes that the metadata may take once every quantized weight is described in it, where any is."""
    bare = packer.metadata(list(answer.parameters), {})
    described = sum(part.quantized and part.parameter in bare for part in answer.conversions.values())
    return len(json.dumps(bare)) + described * METADATA_ROOM


def read_tensors(file: WeightFile, conversions: Mapping[str, Conversion]) -> Iterator[tuple[str, torch.Tensor]]:
    """Yield the wanted tensors of a file in its order, in the dtype that the library holds them in.

    Raises:
        SourceError: A tensor holds NaN or Inf, or the file ends early.
    """
    import torch

    with file.path.open("rb") as handle:
        for name, slot in file.slots.items():
            if name not in conversions:
                continue
            handle.seek(slot.begin)
            content = bytearray(slot.end - slot.begin)
            if handle.readinto(content) != len(content):
                where = file.where or str(file.path)
                raise SourceError(f"The file ended inside tensor {name!r}.", where=where, remedy="Run again.")
            stored = getattr(torch, TORCH_DTYPES[slot.dtype])
            empty = torch.empty(slot.shape, dtype=stored)
            tensor = torch.frombuffer(content, dtype=stored).reshape(slot.shape) if content else empty
            refuse_non_finite(name, tensor, file.where or str(file.path))
            wanted = TORCH_DTYPES.get(conversions[name].dtype, conversions[name].dtype)
            yield name, tensor.to(getattr(torch, wanted))


def refuse_non_finite(name: str, tensor: torch.Tensor, where: str) -> None:
    """Refuse a tensor that holds NaN or Inf: every scheme would spread it over a whole block or row."""
    import torch

    if tensor.is_floating_point() and DTYPE_SIZES[STORED_DTYPES[str(tensor.dtype).removeprefix("torch.")]] > 1:
        bad = int((~torch.isfinite(tensor)).sum())
        if bad:
            raise SourceError(
                f"Tensor {name!r} holds NaN or Inf in {bad} of its {tensor.numel()} values; it would ruin more.",
                where=where,
                remedy="Ask the source's publisher to repair it, or pin a commit from before.",
            )


def put(writer: Writer, name: str, tensor: torch.Tensor) -> None:
    """Hand a tensor's bytes to a writer."""
    import torch

    dtype = STORED_DTYPES[str(tensor.dtype).removeprefix("torch.")]
    content = memoryview(tensor.contiguous().reshape(-1).view(torch.uint8).numpy()) if tensor.numel() else b""
    writer.put(name, dtype, tuple(tensor.shape), content)


def read_index(content: bytes, where: str) -> dict[str, str]:
    """Read which file of a sharded component holds which tensor.

    Raises:
        SourceError: The index is no such mapping.
    """
    try:
        weight_map = json.loads(content)["weight_map"]
        honest = all(isinstance(file, str) for file in weight_map.values())
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise SourceError("This index of shards is not readable.", where=where, remedy=WHOLE) from error
    if not honest:
        raise SourceError("This index names something that is no file.", where=where, remedy=WHOLE)
    return dict(weight_map)

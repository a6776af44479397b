"""One result on its way: what becomes of each tensor that is read, in which file it lies, and which files are done."""

from __future__ import annotations

import json
from collections.abc import Mapping
from concurrent.futures import Executor
from dataclasses import dataclass, field
from math import isnan, prod
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from pydantic import BaseModel, ConfigDict, ValidationError

from pipeline.backends.oracle.conversion import ConversionPlan
from pipeline.backends.oracle.single_file import Rows, SingleFile
from pipeline.errors import QuantizationError
from pipeline.files import BuiltFile, pretty_json, write_atomically
from pipeline.kernels.packing import Packing, Part
from pipeline.plan.shards import Shard, Weights, renamed
from pipeline.quantize.formats import FORMATS
from pipeline.quantize.shard_writer import METADATA_ROOM, Writer
from pipeline.source.safetensors import DTYPE_SIZES, FLOATS, STORED_DTYPES, TensorInfo

if TYPE_CHECKING:
    from numpy.typing import NDArray

LARGEST = {"F64": 1024, "F32": 128, "BF16": 128, "F16": 16}  # powers of two that no value of a dtype reaches


class Packer(Protocol):
    """A backend with its scheme."""

    @property
    def describes(self) -> bool:
        """Whether `describe` tells all that the header's metadata says of a weight."""

    def packing(self, name: str, shape: tuple[int, ...], dtype: str) -> Packing:
        """Return the packing of a weight of shape (out, in) and torch dtype."""

    def describe(self, name: str, shape: tuple[int, ...], dtype: str) -> str | None:
        """Return what the header's metadata says of a weight."""

    def metadata(self, parameters: list[str], described: Mapping[str, str]) -> Mapping[str, Any]:
        """Return the header's metadata, given the model's parameters and what it says of its quantized weights."""


@dataclass(frozen=True)
class Job:
    """One result to make of a component.

    Attributes:
        answer: What the library makes of the component.
        slots: The tensors of the source by name.
        weights: The files of the result.
        packer: The backend with its scheme.
        out: The folder of the result.
        journal: The file that remembers which files of the result are done.
        format: The format of its files.
        file: Which rows go where, where it is one file in the names of its family.
    """

    answer: ConversionPlan
    slots: Mapping[str, TensorInfo]
    weights: Weights
    packer: Packer
    out: Path
    journal: Path
    format: str = "safetensors"
    file: SingleFile | None = None


class Made(BaseModel):
    """What is known of the files that are done.

    Attributes:
        files: Size and digest of each.
        errors: For each quantized tensor of theirs, by its name in the source, the squared error that the scheme made
            and the squared values, of the whole tensor that it is part of; none where a library packed it.
        sources: The digest of each file of the source that was read to its end, with its kind as in `ListedFile`.
        tied: The digest of each tensor in them that is tied to another one.
    """

    model_config = ConfigDict(extra="forbid")

    files: dict[str, BuiltFile] = {}
    errors: dict[str, tuple[float, float]] = {}
    sources: dict[str, dict[str, str]] = {}
    tied: dict[str, str] = {}


@dataclass(frozen=True)
class Strip:
    """Rows of one tensor of the source that lie behind each other in one tensor of the result.

    Attributes:
        rows: They.
        width: How many values a row has.
        target: The tensor of the result, as it is called there.
        first: The value of that tensor where they begin.
    """

    rows: Rows
    width: int
    target: str
    first: int

    @property
    def start(self) -> int:
        """The first of their values."""
        return self.rows.start * self.width

    @property
    def stop(self) -> int:
        """The value behind the last one."""
        return self.rows.stop * self.width


@dataclass(frozen=True)
class PackedTensor:
    """What is quantized as one: ``name`` where its packing names it, ``target`` in the file.

    Attributes:
        members: The tensors of the file that it is taken apart into at the end, each with its rows, where it is.
    """

    name: str
    target: str
    packing: Packing
    members: Mapping[str, int] = field(default_factory=dict)

    def named(self, parts: list[Part]) -> list[Part]:
        """Return parts under their names in the file."""
        return [(renamed(part, self.name, self.target), at, content) for part, at, content in parts]

    def rest(self, tensors: Mapping[str, NDArray[Any]]) -> list[Part]:
        """Return what its packing ends with under the names in the file.

        Of what has a row for each of its own, every member gets those of its rows; what it has but once, each of them.
        """
        if not self.members:
            return self.named([(part, 0, content) for part, content in tensors.items()])
        found: list[Part] = []
        all_rows, before = sum(self.members.values()), 0
        for target, rows in self.members.items():
            for part, content in tensors.items():
                own = content[before : before + rows] if content.shape[:1] == (all_rows,) else content
                found.append((renamed(part, self.name, target), 0, own))
            before += rows
        return found


@dataclass(frozen=True)
class TensorTask:
    """What one result makes of one tensor, ``name`` in the source: the strips of it, some of them quantized."""

    making: ComponentWriter
    name: str
    slot: TensorInfo
    dtype: str
    strips: tuple[tuple[Strip, PackedTensor | None], ...]
    transposed: bool

    @property
    def unit(self) -> int:
        """Return the values that a piece must hold a multiple of."""
        packed = self.strips[0][1]
        if packed is None:
            return 1
        return prod(self.slot.shape) if self.transposed else packed.packing.unit

    def pack(self, first: int, values: NDArray[Any]) -> list[Part]:
        """Turn the values from the ``first`` on, in the dtype they are stored in, into parts of the result.

        Raises:
            QuantizationError: A value does not fit into the dtype that the library is asked for.
        """
        from pipeline.kernels.cast import cast, non_finite

        held = values if self.slot.dtype in FLOATS else values.view(f"V{DTYPE_SIZES[self.slot.dtype]}")
        if self.slot.dtype in FLOATS and self.dtype != self.slot.dtype:
            held = cast(values, self.slot.dtype, self.dtype)
            if LARGEST[self.dtype] < LARGEST[self.slot.dtype] and (lost := non_finite(held, self.dtype)):
                raise QuantizationError(
                    f"{lost} values of tensor {self.name!r} are too large for {self.dtype}.",
                    where=str(self.making.job.out.name),
                    remedy="Give the target dtype: bfloat16 or float32.",
                )
        if self.transposed:
            held = held.reshape(self.slot.shape).T.reshape(-1)
        parts: list[Part] = []
        for strip, packed in self.strips:
            begin, end = max(strip.start, first), min(strip.stop, first + held.size)
            if end < begin or (begin == end and strip.start < strip.stop):
                continue
            for start, stop, place in strip.rows.targets(begin, end, strip.width):
                at, within = strip.first + place, held[start - first : stop - first]
                parts += (
                    packed.named(packed.packing.pack(at, within))
                    if packed
                    else [(strip.target, at * held.itemsize, within)]
                )
        return parts

    def write(self, parts: list[Part], *, last: bool) -> None:
        """Write parts in their order; with the last one, what is known of the whole weight."""
        self.making.write(self.name, parts)
        if last:
            self.making.end(self.name)


class ComponentWriter:
    """The files of one result while they are made.

    Args:
        job: What is made.
        writing: Runs one write at a time.
    """

    def __init__(self, job: Job, writing: Executor) -> None:
        self.job = job
        self.made = restored(job.journal)
        self._writing = writing
        self._shards = {name: shard for shard in job.weights.shards for name in shard.sources}
        self._left = {shard.name: set(shard.sources) for shard in job.weights.shards}
        self._writers: dict[str, Writer] = {}
        self._described: dict[str, str] = {}
        self._ended = Made()
        self._places = job.file.places() if job.file else {}
        self._companies = {name: company for company in job.answer.together for name in company}
        self._packed: dict[str, PackedTensor] = {}
        self._parts: dict[str, set[str]] = {}  # of each tensor of the result, those of the source that are part of it
        for name in self._shards:
            for strip in self._strips(name):
                self._parts.setdefault(strip.target, set()).add(name)
        self._read: set[str] = set()

    def wants(self, name: str) -> bool:
        """Return whether a tensor of the source still has to be read for this result."""
        return name in self._shards and self._shards[name].name not in self.made.files

    def take(self, name: str, slot: TensorInfo) -> TensorTask:
        """Return what becomes of a wanted tensor."""
        conversion = self.job.answer.conversions[name]
        dtype = STORED_DTYPES.get(conversion.dtype, slot.dtype)
        strips = tuple((strip, self._packing(name, strip.target)) for strip in self._strips(name))
        return TensorTask(self, name, slot, dtype, strips, conversion.transposed)

    def _strips(self, name: str) -> list[Strip]:
        """Return where the values of a tensor of the source go."""
        written, shape = self._written(name), self.job.slots[name].shape
        width = prod(shape[1:])
        if self.job.file is None:
            company = self._companies.get(name, (name,))
            before = sum(self.job.slots[one].shape[0] for one in company[: company.index(name)])
            rows = Rows(tensor=written, start=0, stop=1)
            return [Strip(rows, prod(shape), self._written(company[0]), before * width)]
        return [Strip(rows, width, target, before * width) for rows, target, before in self._places[written]]

    def _written(self, name: str) -> str:
        """Return what a tensor of the source is called by the library."""
        return self.job.answer.conversions[name].name_of(name)

    def _packing(self, name: str, target: str) -> PackedTensor | None:
        """Return what packs a tensor of the result that a tensor of the source is part of; None if nothing does."""
        if self.job.answer.conversions[name].quantized and target not in self._packed:
            packing = self.job.packer.packing(*self._packs(name, target))
            members = {self._written(one): self.job.slots[one].shape[0] for one in self._companies.get(name, ())}
            self._packed[target] = PackedTensor(self._packs(name, target)[0], target, packing, members)
        return self._packed.get(target)

    def _packs(self, name: str, target: str) -> tuple[str, tuple[int, ...], str]:
        """Return what is quantized as one: name, shape and torch dtype, as diffusers' layers have them."""
        conversion = self.job.answer.conversions[name]
        if self.job.file is None:
            rows, *columns = conversion.shape_of(self.job.slots[name].shape)
            company = self._companies.get(name, ())
            rows = sum(self.job.slots[one].shape[0] for one in company) or rows
            return target, (rows, *columns), conversion.dtype
        tensor = self.job.file.tensors[target]
        return tensor.rows[0].tensor, tensor.shape, conversion.dtype

    def write(self, name: str, parts: list[Part]) -> None:
        """Write parts of what a tensor became."""
        writer = self._writer(self._shards[name])
        for tensor, offset, content in parts:
            whole = content.reshape(-1).view("u1").data if content.size else memoryview(b"")
            writer.put(tensor, offset, whole)

    def end(self, name: str) -> None:
        """Write what is left of a tensor; with the last one of a file, finish the file."""
        shard = self._shards[name]
        self._read.add(name)
        for target in {strip.target for strip in self._strips(name)}:
            if self._parts[target] <= self._read and (packed := self._packed.pop(target, None)):
                self._finish(name, packed)
        self._left[shard.name].remove(name)
        if not self._left[shard.name]:
            writer = self._writer(shard)
            self._ended.files[shard.name] = writer.finish(self._metadata())
            del self._writers[shard.name]

    def _finish(self, name: str, packed: PackedTensor) -> None:
        """Write what is known of a quantized tensor once the last tensor of the source that it is made of was read."""
        rest = packed.packing.finish()
        self.write(name, packed.rest(rest.tensors))
        if rest.metadata is not None:
            self._described[self._said_of(name, packed.target)] = rest.metadata
        if isnan(rest.noise):
            raise QuantizationError(
                f"Tensor {name!r} would read back as NaN: a row or group of it is all zero or reaches too far, and "
                "the scheme has no scale for that.",
                where=self.job.out.name,
                remedy="Keep this module with keep: in the recipe, or choose another scheme.",
            )
        if rest.signal or rest.noise:
            self._ended.errors |= dict.fromkeys(self._parts[packed.target], (rest.noise, rest.signal))

    def record(self, sources: Mapping[str, dict[str, str]], proven: set[str], tied: Mapping[str, str]) -> None:
        """Remember the files that are done, once every tensor in them came from a file that was proven.

        Args:
            sources: The digest of each file of the source that was read.
            proven: The tensors in them.
            tied: The digests of tensors among them that are tied to others.
        """
        done = [shard for shard in self.job.weights.shards if shard.name in self._ended.files]
        for shard in done:
            if proven.issuperset(shard.sources):
                self.made.files[shard.name] = self._ended.files.pop(shard.name)
                errors = {name: self._ended.errors.pop(name) for name in shard.sources if name in self._ended.errors}
                self.made.errors |= errors
        self.made.sources |= sources
        self.made.tied |= tied
        write_atomically(self.job.journal, pretty_json(self.made.model_dump(mode="json")))

    def close(self) -> None:
        """Let go of files that are not finished."""
        for writer in self._writers.values():
            writer.close()

    def _writer(self, shard: Shard) -> Writer:
        if shard.name not in self._writers:
            metadata = self._metadata() if self.job.packer.describes else None
            path = self.job.out / shard.name
            form = FORMATS[self.job.format]
            placed = form.place(shard.tensors, shard.scattered)
            writer = self._writers[shard.name] = Writer(path, form, placed, metadata, self._room(), self._writing)
            for name, tensor in self.job.file.tensors.items() if self.job.file else ():
                if tensor.values:
                    writer.put(name, 0, memoryview(tensor.content))
        return self._writers[shard.name]

    def _metadata(self) -> Mapping[str, Any]:
        answer = self.job.answer
        if self.job.packer.describes and not self._described:
            self._described = self._describe()
        further = self.job.file.keys if self.job.file else {}
        return {**self.job.packer.metadata(list(answer.parameters), self._described), **further}

    def _describe(self) -> dict[str, str]:
        described = {}
        for name, conversion in self.job.answer.conversions.items():
            if conversion.quantized:
                for strip in self._strips(name):
                    text = self.job.packer.describe(*self._packs(name, strip.target))
                    described[self._said_of(name, strip.target)] = text
        return {name: text for name, text in described.items() if text is not None}

    def _said_of(self, name: str, target: str) -> str:
        """Return the name of a quantized tensor in the header's metadata: of the model's parameter, or of the file."""
        return target if self.job.file else self.job.answer.conversions[name].parameter

    def _room(self) -> int:
        answer = self.job.answer
        bare = self.job.packer.metadata(list(answer.parameters), {})
        quantized = sum(part.quantized and part.parameter in bare for part in answer.conversions.values())
        return len(json.dumps(bare)) + quantized * METADATA_ROOM


def restored(journal: Path) -> Made:
    """Return what an interrupted run finished."""
    try:
        return Made.model_validate_json(journal.read_bytes())
    except (FileNotFoundError, ValidationError):
        return Made()

"""Contents: the models that lie in a folder or repository, found by their files, indexes and headers."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from threading import Lock
from typing import Any, Final

from pipeline.errors import SourceError
from pipeline.files import safe_relative
from pipeline.lint.faults import Fault, told
from pipeline.lint.subject import Container, Subject, Tensor
from pipeline.source import gguf, onnx, safetensors
from pipeline.source.layout import INDEX, Folder, Place, read_json
from pipeline.source.safetensors import DTYPE_SIZES, TensorInfo
from pipeline.source.strict import read_index

SHARD: Final = re.compile(r"(?P<stem>.*)-(?P<number>\d{5})-of-(?P<count>\d{5})(?P<end>\.\w+)")
CONTAINERS: Final[dict[str, Container]] = {".safetensors": "safetensors", ".gguf": "gguf", ".onnx": "onnx"}
WINDOW: Final = 1 << 20  # bytes that are read around a small range, of which the next one wants the rest
WINDOWS: Final = 16  # that are kept
AGAIN: Final = "Download it again, or ask its publisher for a whole one."


@dataclass
class Windows:
    """Reads small ranges out of larger ones, which are kept: a state of 80 bytes a layer is not worth a request each.

    Attributes:
        place: Where the files lie.
    """

    place: Place
    _held: dict[tuple[str, int], bytes] = field(default_factory=dict)
    _lock: Lock = field(default_factory=Lock)

    def read(self, name: str, offset: int, length: int) -> bytes:
        """Read a range of a file; fewer bytes at its end."""
        begin = offset // WINDOW * WINDOW
        if offset + length > begin + WINDOW:
            return self.place.read(name, offset, length)
        with self._lock:
            if (held := self._held.get((name, begin))) is None:
                held = self._held[name, begin] = self.place.read(name, begin, WINDOW)
                while len(self._held) > WINDOWS:
                    self._held.pop(next(iter(self._held)))
        return held[offset - begin : offset - begin + length]


@dataclass(frozen=True)
class Contents:
    """What lies at a place.

    Attributes:
        subjects: Its models.
        faults: What is wrong with files that no model can be made of.
    """

    subjects: list[Subject]
    faults: list[Fault]


def contents_of(place: Place) -> Contents:
    """Find the models at a place and read their headers.

    Raises:
        SourceError: There is none.
    """
    windows, links = Windows(place), place.dangling if isinstance(place, Folder) else []
    faults = [Fault("file-missing", "It is a link that leads nowhere.", name, remedy=AGAIN) for name in sorted(links)]
    subjects = [
        Opening(place, windows, name, files, index).subject() for name, (files, index) in models(place, faults).items()
    ]
    if not subjects and not faults:
        what = "It has no weights in safetensors, GGUF or ONNX."
        raise SourceError(what, where=place.where, remedy="Name a file, a folder or a repository of a model.")
    return Contents(subjects, faults)


def models(place: Place, faults: list[Fault]) -> dict[str, tuple[list[str], dict[str, str]]]:
    """Return the files of each model by its name, and what its index says of tensors; note what indexes lack."""
    found: dict[str, tuple[list[str], dict[str, str]]] = {}
    taken = set[str]()
    for index in sorted(name for name in place.files if name.endswith(INDEX)):
        folder = index.rpartition("/")[0]
        try:
            said = read_index(place.read(index, 0, place.files[index].size), index)
        except SourceError as error:
            faults.append(Fault("index-disagrees", error.what, index, remedy=AGAIN))
            continue
        paths = {file: f"{folder}/{file}".lstrip("/") for file in said.values()}
        missing = sorted({path for path in paths.values() if path not in place.files})
        faults += [
            Fault("file-missing", f"The index names {told(path)}, which is not there.", index, remedy=AGAIN)
            for path in missing
        ]
        files = sorted({path for path in paths.values() if path in place.files and path.endswith(".safetensors")})
        taken |= set(files)
        found[index] = files, {name: paths[file] for name, file in said.items()}
    for name in sorted(place.files):
        if name in taken or name[name.rfind(".") :] not in CONTAINERS:
            continue
        if shard := SHARD.fullmatch(name):
            stem = f"{shard['stem']}-of-{shard['count']}{shard['end']}"
            found.setdefault(stem, ([], {}))[0].append(name)
        else:
            found[name] = [name], {}
    return found


def tensors_in(file: str, slots: Mapping[str, TensorInfo]) -> dict[str, Tensor]:
    """Return the tensors of a file."""
    return {name: Tensor(name, one.dtype, one.shape, file, one.begin, one.end) for name, one in slots.items()}


@dataclass
class Opening:
    """Reads the headers of one model's files.

    Attributes:
        place: Where they lie.
        windows: Reads them.
        name: The model's.
        files: Of the model.
        index: Which file the index says holds a tensor; empty where there is no index.
        faults: What was wrong so far.
        nodes: Those of its graph.
    """

    place: Place
    windows: Windows
    name: str
    files: list[str]
    index: Mapping[str, str]
    faults: list[Fault] = field(default_factory=list)
    nodes: list[onnx.Node] = field(default_factory=list)

    def subject(self) -> Subject:
        """Return the model."""
        tensors, metadata = dict[str, Tensor](), dict[str, Any]()
        ending = self.files[0][self.files[0].rfind(".") :] if self.files else ".safetensors"
        for file in self.files:
            try:
                found, said = self.header(file)
            except SourceError as error:
                self.faults.append(Fault("file-broken", error.what, file, remedy=error.remedy))
                continue
            metadata = {**said, **metadata}
            for name in tensors.keys() & found.keys():
                text = f"It lies in {tensors[name].file} as well."
                self.faults.append(Fault("index-disagrees", text, file, name, AGAIN))
            tensors |= found
        self.shards(metadata)
        self.indexed(tensors)
        self.aligned(tensors.values())
        config, container = self.config(), CONTAINERS[ending]
        faults, nodes = tuple(self.faults), tuple(self.nodes)
        read, read_large = self.windows.read, self.place.read_large
        return Subject(self.name, container, tensors, metadata, config, read, read_large, faults, nodes)

    def header(self, file: str) -> tuple[dict[str, Tensor], Mapping[str, Any]]:
        """Return the tensors of a file and what it says beside.

        Raises:
            SourceError: It lies.
        """

        def read(offset: int, length: int) -> bytes:
            return self.place.read(file, offset, length)

        size = self.place.files[file].size
        if file.endswith(".onnx"):
            graph = onnx.parse_graph(read, size, file)
            self.nodes += graph.nodes
            return self.constants(file, graph), {}
        if file.endswith(".gguf"):
            header = gguf.parse_header(read, size, file)
            if header.apart:
                text = "It does not begin where the tensor before it ends, so llama.cpp refuses the file."
                self.faults.append(Fault("file-broken", text, file, header.apart, level="warning"))
            return tensors_in(file, header.tensors), header.metadata
        slots, metadata = safetensors.parse_whole_header(read, size, file)
        return tensors_in(file, slots), metadata

    def constants(self, file: str, graph: onnx.Graph) -> dict[str, Tensor]:
        """Return the constants of a graph, of which some lie in files beside it, and note files that are not there.

        Raises:
            SourceError: A file is named that would lie elsewhere, or ends before a constant does.
        """
        found, missing = dict[str, Tensor](), set[str]()
        for name, constant in graph.constants.items():
            slot, place = constant.slot, file
            if constant.file:
                place = str(safe_relative(f"{file.rpartition('/')[0]}/{constant.file}".lstrip("/"), file))
            if place not in self.place.files:
                missing.add(place)
            elif slot.end > self.place.files[place].size:
                told_end = f"constant {told(name)} ends at byte {slot.end} of {told(place)}"
                raise onnx.refusal(file, f"{told_end}, which has {self.place.files[place].size}")
            else:
                found[name] = Tensor(name, slot.dtype, slot.shape, place, slot.begin, slot.end)
        for place in sorted(missing):
            text = f"Constants lie in {told(place)}, which is not there."
            self.faults.append(Fault("file-missing", text, file, remedy=AGAIN))
        return found

    def shards(self, metadata: Mapping[str, Any]) -> None:
        """Note the shards that lack, by the numbers in their names or in a header."""
        matches = [match for file in self.files if (match := SHARD.fullmatch(file))]
        if not matches or self.index:
            return
        there, count = {int(match["number"]) for match in matches}, int(matches[0]["count"])
        missing = [number for number in range(1, min(count, 100_000) + 1) if number not in there]
        if missing:
            text = f"It is in {count} parts, and number {missing[0]} is not there."
            self.faults.append(Fault("file-missing", text, self.name, remedy=AGAIN))
        elif matches[0]["end"] == ".safetensors":
            text = "It is in parts and has no index, so from_pretrained does not find them."
            self.faults.append(Fault("file-missing", text, self.name, remedy="Write the index.", level="warning"))
        elif metadata.get("split.count", count) != count:
            text = f"Its names say {count} parts, and its header {told(str(metadata['split.count']))}."
            self.faults.append(Fault("index-disagrees", text, self.name, remedy=AGAIN))

    def indexed(self, tensors: Mapping[str, Tensor]) -> None:
        """Note where the index and the headers say different things."""
        broken = {fault.file for fault in self.faults if fault.rule == "file-broken"}
        for name, file in self.index.items():
            if name not in tensors and file in self.place.files and file not in broken:
                text = f"The index says that it lies in {told(file)}, and it is not there."
                self.faults.append(Fault("index-disagrees", text, self.name, name, AGAIN))
            elif name in tensors and tensors[name].file != file:
                text = f"The index says that it lies in {told(file)}, and it lies in {told(tensors[name].file)}."
                self.faults.append(Fault("index-disagrees", text, self.name, name, AGAIN))
        if self.index:
            for name in tensors.keys() - self.index.keys():
                text = "The index does not name it, so nobody reads it."
                self.faults.append(Fault("index-disagrees", text, tensors[name].file, name, AGAIN))

    def aligned(self, tensors: Iterable[Tensor]) -> None:
        """Note tensors at a place where no processor reads their elements in one go."""
        for tensor in tensors:
            if not self.nodes and tensor.begin % DTYPE_SIZES.get(tensor.dtype, 1):
                text = f"It begins at byte {tensor.begin}, which is no multiple of the size of its {tensor.dtype}."
                again = "Save it again with safetensors 0.3 or later."
                self.faults.append(Fault("file-broken", text, tensor.file, tensor.name, again, "warning"))

    def config(self) -> Mapping[str, Any]:
        """Return the configuration beside the files, with what ModelOpt writes into a file of its own."""
        folder = f"{self.name.rpartition('/')[0]}/".lstrip("/")
        found = dict(self.said(f"{folder}config.json"))
        theirs = self.said(f"{folder}hf_quant_config.json").get("quantization")
        if isinstance(theirs, dict):
            ours = found.setdefault("quantization_config", {"quant_method": "modelopt", **theirs})
            algorithms = [said.get("quant_algo") for said in (ours, theirs) if isinstance(said, dict)]
            if None not in algorithms and algorithms[0] != algorithms[-1]:
                named = " and ".join(sorted(map(str, algorithms)))
                text = f"config.json and hf_quant_config.json name different formats: {told(named)}."
                self.faults.append(Fault("index-disagrees", text, f"{folder}hf_quant_config.json"))
        return found

    def said(self, file: str) -> Mapping[str, Any]:
        """Return a JSON object of a file; empty where it is not there, and noted where it cannot be read."""
        if file not in self.place.files:
            return {}
        try:
            return read_json(self.place, file)
        except SourceError as error:
            self.faults.append(Fault("index-disagrees", error.what, file, remedy=AGAIN))
            return {}

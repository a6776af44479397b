"""Sources: a tiny pipeline with its JSON, headers, names and bytes spoiled, read and streamed as others are."""

from __future__ import annotations

import copy
import json
import struct
from collections.abc import Mapping
from math import prod
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import Any

from pipeline.backends import BACKENDS, SCHEMES
from pipeline.backends.oracle.conversion import Conversion, ConversionPlan, ConversionRequest, place_of
from pipeline.errors import PublishError
from pipeline.files import ListedFile, pretty_json, sha256_file
from pipeline.plan.model import flat, lay_out_result, question_of
from pipeline.quantize.build import Packer
from pipeline.quantize.component_writer import Job
from pipeline.quantize.spans import local_file
from pipeline.quantize.stream import stream
from pipeline.recipe import Vocabulary, read_quantization
from pipeline.source.layout import Component, Folder, Place, read_slots, read_source
from pipeline.source.safetensors import TORCH_DTYPES, TensorInfo, read_header
from pipeline.source.variants import plain_index
from tests.soak.guarded import Guard, allowed
from tests.soak.mutations import PATHS, changed, scrambled, written

ALLOWED = {2, 4, 5}
FLOATS = {"F32": 4, "F16": 2, "BF16": 2}
HARD_SHAPES = (
    [2**62, 4],
    [0, 2**62],
    [10**4000],
    [10**4000] * 2000,
    [0] * 5000,
    [True, 8],
    [-1, -256],
    [256.0],
    [[8, 32]],
    "832",
    None,
    [],
)
HARD_OFFSETS = ([0, 2**63], [-8, 0], [8, 0], [0], [0, 1, 2], [0.0, 1024.0], [False, True], None, "01", [2**64, 2**64])
NF4 = read_quantization("backend: bitsandbytes\nscheme: nf4\n", Vocabulary(SCHEMES))
Files = dict[str, bytes]


def weights(rng: Random, tensors: Mapping[str, tuple[str, list[int]]]) -> bytes:
    """Return a safetensors file of small values."""
    header, content = {}, b""
    for name, (dtype, shape) in tensors.items():
        size = prod(shape) * FLOATS[dtype]
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [len(content), len(content) + size]}
        content += (rng.randbytes(FLOATS[dtype] - 1) + b"\x3c") * prod(shape)
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + content


def source(rng: Random) -> Files:
    """Return a whole pipeline: a component of two shards, one of a single file, and one without weights."""
    stem, folder = "diffusion_pytorch_model", "transformer"
    shards = {
        f"{stem}-00001-of-00002.safetensors": {"proj.weight": ("F32", [8, 64]), "proj.bias": ("F32", [8])},
        f"{stem}-00002-of-00002.safetensors": {"out.weight": ("BF16", [64, 64]), "norm.weight": ("F16", [64])},
    }
    index = {
        "metadata": {"total_size": 0},
        "weight_map": {name: file for file, held in shards.items() for name in held},
    }
    documents: dict[str, Any] = {
        "model_index.json": {
            "_class_name": "TinyPipeline",
            "transformer": ["diffusers", "TinyTransformer"],
            "text_encoder": ["transformers", "TinyEncoder"],
            "scheduler": ["diffusers", "TinyScheduler"],
            "safety_checker": [None, None],
        },
        f"{folder}/config.json": {"_class_name": "TinyTransformer", "layers": 2, "sizes": [8, 64], "eps": 1e-5},
        f"{folder}/{stem}.safetensors.index.json": index,
        "text_encoder/config.json": {"architectures": ["TinyEncoder"], "model_type": "tiny"},
        "scheduler/scheduler_config.json": {"_class_name": "TinyScheduler"},
    }
    files = {name: json.dumps(document).encode() for name, document in documents.items()}
    files |= {f"{folder}/{file}": weights(rng, held) for file, held in shards.items()}
    return files | {"text_encoder/model.safetensors": weights(rng, {"a.weight": ("F32", [64, 64])}), "LICENSE": b"MIT"}


class Shelf:
    """A place in memory, whose names and sizes may be those that no disk has."""

    where = "shelf"

    def __init__(self, content: Files, rng: Random) -> None:
        self._content = content
        sizes = {name: len(held) for name, held in content.items()}
        if rng.random() < 0.1:
            sizes[rng.choice(sorted(sizes))] = rng.choice((0, 1, 7, 8, 10**6, 10**9, 2**63))
        self.files: Mapping[str, ListedFile] = {name: ListedFile(size=size) for name, size in sizes.items()}

    def read(self, name: str, offset: int, length: int) -> bytes:
        """Read a range of a file."""
        return self._content[name][offset : offset + length]


def meet(number: int, rng: Random, folder: Path, guard: Guard) -> str:
    """Read a spoiled source in memory, or on disk where it is also streamed."""
    files = spoiled(source(rng), rng)
    variant = rng.choice((*[None] * 12, "fp16", "../x", "(", ""))
    try:
        if number % 4:
            with guard.nowhere():
                return read(Shelf(files, rng), variant, None)
        return read(on_disk(files, folder / "source", rng), variant, folder)
    except PublishError as error:
        return allowed(error, ALLOWED)


def on_disk(files: Files, folder: Path, rng: Random) -> Folder:
    """Write a source as far as a disk takes it, perhaps with a link in it."""
    for name, content in files.items():
        try:
            path = (folder / name).resolve()
            if path.is_relative_to(folder):
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(content)
        except (OSError, ValueError):
            continue
    folder.mkdir(exist_ok=True)
    if rng.random() < 0.05:
        (folder / rng.choice(("x.json", "transformer/x"))).symlink_to(rng.choice(("/etc/passwd", ".", "../source")))
    return Folder(folder)


def read(place: Place, variant: str | None, folder: Path | None) -> str:
    """Find the components, read their headers, put them to the library's question, and make a result of each."""
    layout = read_source(place, variant)
    assert pretty_json(layout.model_dump(mode="json"))
    for name, component in layout.components.items():
        slots = read_slots(place, component)
        if component.index:
            plain_index(place.read(component.index, 0, 1 << 20), component.variant, place.where)
        if not component.weights:
            continue
        question = question_of(place, component, NF4, slots)
        assert ConversionRequest.model_validate_json(question.model_dump_json()) == question
        place_of(question, Path("answers"))
        if folder is not None:
            quantize(place, component, slots, folder / f"made-{name}")
    return "read" if folder is None else "streamed"


def quantize(place: Place, component: Component, slots: Mapping[str, Mapping[str, TensorInfo]], out: Path) -> None:
    """Stream a component through the backend's own packer, as if the library took every weight."""
    tensors = flat(slots)
    conversions = {
        name: Conversion(
            parameter=name,
            dtype="bfloat16" if slot.dtype in FLOATS else TORCH_DTYPES[slot.dtype],
            quantized=name.endswith("weight") and len(slot.shape) == 2 and slot.dtype in FLOATS,
        )
        for name, slot in tensors.items()
    }
    answer = ConversionPlan(conversions=conversions, parameters=tuple(tensors), kept={}, config="{}")
    asked = lay_out_result(component, NF4, slots, answer)
    assert asked.planned().tensors
    out.mkdir()
    packer = Packer(BACKENDS[NF4.backend], NF4.scheme, NF4.options)
    root = Path(place.where)
    files = [local_file(root / file, file, held, listed(root / file)) for file, held in slots.items()]
    (made,) = stream(
        files, [Job(answer, tensors, asked.weights, packer, out, out.with_suffix(".journal"))], lambda *_: None
    )
    for file in made.files:
        assert read_header(out / file)


def listed(path: Path) -> ListedFile:
    """Return a file as a place that hashes lists it."""
    return ListedFile(size=path.stat().st_size, sha256=sha256_file(path))


def spoiled(files: Files, rng: Random) -> Files:
    """Spoil one to three files: what they say, how they are called, their bytes."""
    for _ in range(rng.choice((1, 1, 2, 3))):
        name = rng.choice(sorted(files))
        way = rng.random()
        if way < 0.1:
            other = rng.choice((rng.choice(PATHS), name.upper(), f"{name}/x", rng.choice(sorted(files)), f"x/{name}"))
            files[other] = files.pop(name) if rng.random() < 0.5 else files[name]
        elif way < 0.2:
            files[name] = scrambled(files[name], rng)
        elif name.endswith(".safetensors"):
            files[name] = spoiled_header(files[name], rng)
        elif name.endswith(".json"):
            files[name] = spoiled_json(files[name], rng)
    return files


def spoiled_json(content: bytes, rng: Random) -> bytes:
    """Change what a document says."""
    try:
        return written(changed(json.loads(content), rng), rng)
    except (ValueError, RecursionError):  # it is spoiled already
        return scrambled(content, rng)


def spoiled_header(content: bytes, rng: Random) -> bytes:
    """Change what a header says of itself, of a tensor, or of where that lies."""
    length = int.from_bytes(content[:8], "little")
    try:
        header = json.loads(content[8 : 8 + length])
        mapping = isinstance(header, dict) and header and rng.random() < 0.5
        header = spoiled_entry(header, rng) if mapping else changed(header, rng)
    except (ValueError, RecursionError):  # it is spoiled already
        return scrambled(content, rng)
    held = content[8 + length :]
    text = written(header, rng)
    claimed = (
        len(text) if rng.random() < 0.9 else rng.choice((0, 1, len(text) - 1, len(text) + 1, 2**63, 2**64 - 1, 10**8))
    )
    return struct.pack("<Q", claimed) + text + (held if rng.random() < 0.8 else held[: rng.randrange(len(held) + 1)])


def spoiled_entry(header: dict[str, Any], rng: Random) -> dict[str, Any]:
    """Change one tensor's entry in a way that a reader of such headers could fall for."""
    if rng.random() < 0.2:  # a tensor without values, whose shape says nothing of its place
        shape = rng.choice(([0, 64], [64, 0], [0, 2**62], [2**62, 0], [0], [0] * 40, [2**62, 2**62, 0]))
        return {"none.weight": {"dtype": "F32", "shape": shape, "data_offsets": [0, 0]}, **header}
    header = copy.deepcopy(header)
    name = rng.choice(sorted(header))
    entry = header[name] if isinstance(header[name], dict) else {}
    shape = entry.get("shape") if isinstance(entry.get("shape"), list) else []
    ways: tuple[dict[str, Any], ...] = (
        {"shape": rng.choice(HARD_SHAPES)},
        {"data_offsets": rng.choice(HARD_OFFSETS)},
        {"dtype": rng.choice(("F64", "I8", "BOOL", "F8_E4M3", "F4", "f32", "", None, ["F32"], {}))},
        {"shape": [0, 64], "data_offsets": [0, 0]},
        {"shape": shape[::-1]},
        {"shape": [prod(part for part in shape[:8] if isinstance(part, int))]},
    )
    entry.update(rng.choice(ways))
    other = rng.choice(
        (name, name, *PATHS, "\ud800", "\x1b[2J", "x" * 5000, "out.weight", "__metadata__", ".", "weight")
    )
    return {(other if key == name else key): value for key, value in header.items()}


def prepare() -> None:
    """Meet a source that nobody spoiled, which loads what is compiled into this process, for its children."""
    with TemporaryDirectory() as name:
        rng, folder = Random(0), Path(name).resolve()
        assert read(on_disk(source(rng), folder / "source", Random(2)), None, folder) == "streamed"

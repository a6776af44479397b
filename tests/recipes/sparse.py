"""Writes repositories of real shapes as sparse files, and puts them onto the shelf of an embedded Hub.

Headers, indexes and configs are whole; of the weights there is only the room. Nobody could hash hundreds of gigabytes
for a test, so a large file lies in the Hub's store under the digest of its header: whoever reads ranges never notices.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from math import prod
from pathlib import Path
from typing import Any, Final

import numpy as np

from localhub.files import git_blob_sha1
from localhub.git import pointer_id
from localhub.names import MAIN
from localhub.records import Blob, State, now
from localhub.store import Store
from pipeline.quantize.formats import safetensors
from pipeline.source.safetensors import DTYPE_SIZES, read_header
from tests.recipes.families import FAMILIES, Part

SHARD: Final = {"diffusers": 10 * 10**9, "transformers": 5 * 10**9}  # bytes, as these files were published
STEM: Final = {"diffusers": "diffusion_pytorch_model", "transformers": "model"}
CONFIG: Final = {"diffusers": "scheduler_config.json", "transformers": "tokenizer_config.json"}
COUNTED: Final = {"torch.int64": "I64"}  # what no cast changes

Tensors = dict[str, tuple[str, tuple[int, ...]]]


def write(folder: Path, repository: str, described: Mapping[str, Mapping[str, Any]]) -> None:
    """Write a repository as its publisher would have, with holes for its weights."""
    family = FAMILIES[repository]
    kinds = {**{name: part.name for name, part in family.parts.items()}, **family.small}
    if family.pipeline:
        put(folder / "model_index.json", {"_class_name": family.pipeline, **kinds})
    for name, (library, class_name) in family.small.items():
        put(folder / name / CONFIG[library], {"_class_name": class_name})
    for name, part in family.parts.items():
        inside = folder / name if family.pipeline else folder
        put(inside / "config.json", described[name]["config"])
        write_weights(inside, part, stored(part, described[name]["tensors"]))
    for name, content in family.beside.items():
        put(folder / name, content)
    (folder / "README.md").write_text(f"---\nlicense: {family.license}\n---\n# {repository.rpartition('/')[2]}\n")


def stored(part: Part, shapes: Mapping[str, Any]) -> Tensors:
    """Return the tensors of a component as its files have them: in its dtype, but for those that count something."""
    found = {name: (COUNTED.get(dtype, part.dtype), tuple(shape)) for name, (dtype, shape) in shapes.items()}
    return found | {name: found[other] for name, other in part.repeated.items()}


def write_weights(folder: Path, part: Part, tensors: Tensors) -> None:
    """Write the files of a component: one, or shards with their index."""
    shards, stem = list(sharded(tensors, SHARD[part.name[0]])), STEM[part.name[0]]
    found: dict[str, str] = {}
    for number, shard in enumerate(shards, start=1):
        which = f"-{number:05d}-of-{len(shards):05d}" if len(shards) > 1 else part.variant and f".{part.variant}"
        found |= dict.fromkeys(shard, f"{stem}{which}.safetensors")
        write_holes(folder / f"{stem}{which}.safetensors", shard)
    if len(shards) > 1:
        put(folder / f"{stem}.safetensors.index.json", {"metadata": {}, "weight_map": found})


def sharded(tensors: Tensors, limit: int) -> Iterator[Tensors]:
    """Yield tensors in the order given, as many at once as fit a file."""
    shard: Tensors = {}
    filled = 0
    for name, tensor in tensors.items():
        if filled + size_of(tensor) > limit:
            yield shard
            shard, filled = {}, 0
        shard[name] = tensor
        filled += size_of(tensor)
    yield shard


def size_of(tensor: tuple[str, tuple[int, ...]]) -> int:
    """Return the bytes of a tensor."""
    return DTYPE_SIZES[tensor[0]] * prod(tensor[1])


def write_holes(path: Path, tensors: Tensors) -> None:
    """Write a safetensors file whose data takes no room on the disk."""
    laid = safetensors.place(tensors)
    header = safetensors.header(laid.slots, {"format": "pt"})
    prefix = safetensors.prefix(header, safetensors.start(len(header)))
    with path.open("wb") as file:
        file.write(prefix)
        file.truncate(len(prefix) + laid.end)


def fill(path: Path) -> None:
    """Write values where the holes of a file in bfloat16 are: the same thousands of normal ones again and again."""
    values = np.random.default_rng(0).normal(0, 0.02, 1 << 22).astype(np.float32)
    tile = (values.view(np.uint32) >> 16).astype(np.uint16).tobytes()
    with path.open("r+b") as file:
        file.seek(min(slot.begin for slot in read_header(path).values()))
        while left := path.stat().st_size - file.tell():
            file.write(tile[:left])


def put(path: Path, value: Any) -> None:
    """Write JSON."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, indent=2) + "\n")


def shelve(root: Path, repository: str, commit: str, folder: Path, kind: str = "models") -> None:
    """Move a folder into an embedded Hub that is not running, as this commit of a repository."""
    store = Store(root)
    made = store.create(kind, repository, State(created=now()))
    blobs = {path.relative_to(folder).as_posix(): shelved(store, path) for path in folder.rglob("*") if path.is_file()}
    found = made.add_commit(blobs, (), ("Upload the model", ""), "system").model_copy(update={"oid": commit})
    (root / "repos" / kind / repository / "commits" / f"{commit}.json").write_text(found.model_dump_json())
    with made.changing() as state:
        state.refs[MAIN] = commit


def shelved(store: Store, path: Path) -> Blob:
    """Put one file into a store, and return what a tree says of it."""
    size = path.stat().st_size
    if path.suffix != ".safetensors":
        content = path.read_bytes()
        return Blob(git_blob_sha1(content), size, store.objects.add(content), lfs=False)
    with path.open("rb") as file:
        named = hashlib.sha256(str(path).encode() + file.read(1 << 20)).hexdigest()
    target = store.objects.path(named)
    target.parent.mkdir(parents=True, exist_ok=True)
    path.rename(target)
    return Blob(pointer_id(named, size), size, named, lfs=True)

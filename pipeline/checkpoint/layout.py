"""Folders and components: which files of a repository a plain ``from_pretrained`` reads, and what each component is."""

from __future__ import annotations

import json
from collections.abc import Mapping
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Final, Protocol

from pydantic import BaseModel, ConfigDict

from pipeline.checkpoint.safetensors import Slot, parse_header
from pipeline.checkpoint.shards import WEIGHTS_NAME, read_index
from pipeline.errors import SourceError
from pipeline.files import ListedFile, files_under, safe_relative, sha256_file

SMALL_FILES: Final = ("*.json", "*.txt", "*.model", "*.jinja")  # configs, tokenizers, schedulers, chat templates
LICENSE_FILES: Final = ("LICENSE*", "LICENCE*", "NOTICE*", "USE_POLICY*", "COPYING*")
PICKLES: Final = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl", "*.msgpack", "*.h5")
INDEX: Final = ".safetensors.index.json"
UNFIT: Final = "Ask its publisher for a whole repository, or pin a commit that is whole."
SMALL_LIMIT: Final = 64 << 20  # bytes; a tokenizer of 64 MiB is the largest small file read whole


class Place(Protocol):
    """Where a source lies: a repository on the Hub at a commit, or a folder."""

    @property
    def where(self) -> str:
        """How the place is named in messages."""

    @property
    def files(self) -> Mapping[str, ListedFile]:
        """Every file by its POSIX path."""

    def read(self, name: str, offset: int, length: int) -> bytes:
        """Read a range of a file; fewer bytes at its end."""


class Folder:
    """A source in a folder of this machine.

    Raises:
        SourceError: The folder is not there or holds links.
    """

    def __init__(self, path: Path) -> None:
        if not path.is_dir():
            raise SourceError("There is no such folder.", where=str(path), remedy="Correct the source of the recipe.")
        self.path = path
        self.where = str(path)
        self.files: Mapping[str, ListedFile] = {
            file.relative_to(path).as_posix(): ListedFile(size=file.stat().st_size, sha256=sha256_file(file))
            for file in files_under(path)
        }

    def read(self, name: str, offset: int, length: int) -> bytes:
        """Read a range of a file; fewer bytes at its end."""
        with (self.path / name).open("rb") as file:
            file.seek(offset)
            return file.read(length)


class Component(BaseModel):
    """One folder of a pipeline.

    Attributes:
        name: The folder's name.
        library: The package that ``model_index.json`` names, such as ``diffusers``.
        class_name: The class in it.
        small: Its configs and vocabularies, by path from the pipeline's root.
        weights: Its safetensors files, by path from the pipeline's root; empty where it has no weights.
        index: The path of the index of shards, if there is one.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    library: str
    class_name: str
    small: tuple[str, ...]
    weights: tuple[str, ...] = ()
    index: str | None = None


class Layout(BaseModel):
    """A pipeline: its components and the files beside them that are published with it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    class_name: str
    components: dict[str, Component]
    top: tuple[str, ...]

    @property
    def wanted(self) -> list[str]:
        """Every file that ``from_pretrained`` reads, and the license files; sorted."""
        parts = (file for part in self.components.values() for file in (*part.small, *part.weights))
        indexes = (part.index for part in self.components.values() if part.index)
        return sorted({*self.top, *parts, *indexes})


def read_layout(place: Place) -> Layout:
    """Find the components of a pipeline and the files that loading it reads.

    Raises:
        SourceError: It is no pipeline, has pickles only, or names files that are unsafe or missing.
    """
    for name in place.files:
        safe_relative(name, place.where)
    index = read_json(place, "model_index.json")
    components = {
        name: read_component(place, name, *value)
        for name, value in sorted(index.items())
        if isinstance(value, list) and len(value) == 2 and all(isinstance(part, str) for part in value)
    }
    if not components:
        raise SourceError("model_index.json names no components.", where=place.where, remedy=UNFIT)
    top = [name for name in place.files if any(fnmatchcase(name.upper(), pattern) for pattern in LICENSE_FILES)]
    return Layout(class_name=str(index.get("_class_name")), components=components, top=("model_index.json", *top))


def read_component(place: Place, name: str, library: str, class_name: str) -> Component:
    """Choose the files of one component as the libraries do: safetensors, unsharded before sharded, no variants.

    Raises:
        SourceError: The component has no files, or weights in a form that is not read here.
    """
    inside = {path.removeprefix(f"{name}/"): path for path in place.files if path.startswith(f"{name}/")}
    small = [path for file, path in inside.items() if matches(file, SMALL_FILES) and not file.endswith(".index.json")]
    if not small:
        reason = f"model_index.json names the component {name}, which has no files."
        raise SourceError(reason, where=place.where, remedy=UNFIT)
    stem = WEIGHTS_NAME.get(library, "model")
    weights: tuple[str, ...] = ()
    index = None
    if f"{stem}.safetensors" in inside:
        weights = (inside[f"{stem}.safetensors"],)
    elif f"{stem}{INDEX}" in inside:
        index = inside[f"{stem}{INDEX}"]
        weights = tuple(f"{name}/{file}" for file in sorted(set(weight_map(place, index).values())))
        missing = [file for file in weights if file not in place.files]
        if missing:
            reason = f"The index of {name} names {missing[0]}, which is missing."
            raise SourceError(reason, where=place.where, remedy=UNFIT)
    elif found := [path for file, path in inside.items() if matches(file, (*PICKLES, "*.safetensors"))]:
        raise unreadable(place, name, found)
    return Component(
        name=name, library=library, class_name=class_name, small=tuple(sorted(small)), weights=weights, index=index
    )


def matches(file: str, patterns: tuple[str, ...]) -> bool:
    """Return whether a file directly inside a component is of one of these kinds."""
    return "/" not in file and any(fnmatchcase(file, pattern) for pattern in patterns)


def unreadable(place: Place, name: str, found: list[str]) -> SourceError:
    """Return the error for weights that exist in no form that is read here."""
    if all(matches(path.rpartition("/")[2], PICKLES) for path in found):
        reason = f"The weights of {name} are pickles only ({found[0]}), and pickles are never read."
        remedy = "Ask the publisher for safetensors, or convert the model where running its code is safe."
    else:
        reason = f"The weights of {name} have no plain safetensors file, only others such as {found[0]}."
        remedy = "Variants are not read; name a source that has unvaried weights."
    return SourceError(reason, where=place.where, remedy=remedy)


def weight_map(place: Place, index: str) -> dict[str, str]:
    """Read which shard holds which tensor, with every file name checked.

    Raises:
        SourceError: The index cannot be read or names an unsafe path.
    """
    mapping = read_index(read_small(place, index), f"{place.where}/{index}")
    for file in mapping.values():
        if "/" in str(safe_relative(file, f"{place.where}/{index}")):
            reason = f"The index names {file!r}, which is in another folder."
            raise SourceError(reason, where=f"{place.where}/{index}", remedy=UNFIT)
    return mapping


def read_slots(place: Place, component: Component) -> dict[str, Mapping[str, Slot]]:
    """Read the tensor headers of a component by ranges; the weights themselves are not read.

    Returns:
        For every weight file its tensors.

    Raises:
        SourceError: A header lies, or the index and the files disagree.
    """
    slots: dict[str, Mapping[str, Slot]] = {
        file: parse_header(
            lambda offset, length, file=file: place.read(file, offset, length),  # type: ignore[misc]
            place.files[file].size,
            f"{place.where}/{file}",
        )
        for file in component.weights
    }
    if component.index:
        there = {name: file.rpartition("/")[2] for file, names in slots.items() for name in names}
        said = weight_map(place, component.index)
        wrong = sorted(name for name in {*there, *said} if there.get(name) != said.get(name))
        if wrong:
            where = f"{place.where}/{component.index}"
            reason = f"Index and shards disagree on where tensor {wrong[0]!r} lies."
            raise SourceError(reason, where=where, remedy=UNFIT)
    return slots


def read_small(place: Place, name: str) -> bytes:
    """Read a small file whole.

    Raises:
        SourceError: It is missing or not small.
    """
    if name not in place.files:
        remedy = "A source is a whole diffusers pipeline with model_index.json, or correct its name in the recipe."
        raise SourceError(f"It has no {name}.", where=place.where, remedy=remedy)
    if place.files[name].size > SMALL_LIMIT:
        reason = f"{name} has {place.files[name].size} bytes, too many for what it should be."
        raise SourceError(reason, where=place.where, remedy=UNFIT)
    return place.read(name, 0, place.files[name].size)


def read_json(place: Place, name: str) -> dict[str, Any]:
    """Read a small JSON object.

    Raises:
        SourceError: It is missing or no JSON object.
    """
    try:
        value = json.loads(read_small(place, name))
    except (ValueError, RecursionError) as error:
        raise SourceError(f"{name} is no JSON ({error}).", where=place.where, remedy=UNFIT) from error
    if not isinstance(value, dict):
        raise SourceError(f"{name} is no JSON object.", where=place.where, remedy=UNFIT)
    return value

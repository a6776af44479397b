"""Folders and components: which files of a repository a plain ``from_pretrained`` reads, and what each component is."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase
from functools import partial
from pathlib import Path
from typing import Any, Final, Protocol

from pydantic import BaseModel, ConfigDict

from pipeline.errors import SourceError
from pipeline.files import ListedFile, files_of_model, require_readable_name, safe_relative
from pipeline.source import gguf
from pipeline.source.classes import FULL_PRECISION, WEIGHTS_NAME, families_of, loads_plainly
from pipeline.source.digests import digests
from pipeline.source.disk import read_range
from pipeline.source.safetensors import TensorInfo, parse_header
from pipeline.source.strict import parse, read_index, require_shallow
from pipeline.source.variants import INDEX_FILE, index_files, plain_name, variants_among, weights_file

SMALL_FILES: Final = ("*.json", "*.txt", "*.model", "*.jinja")  # configs, tokenizers, schedulers, chat templates
LICENSE_FILES: Final = ("LICENSE*", "LICENCE*", "NOTICE*", "USE_POLICY*", "COPYING*")
PICKLES: Final = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl", "*.msgpack", "*.h5")
GRAPHS: Final = ("onnx/*.onnx", "onnx/*.onnx_data", "onnx/*.onnx_data_[0-9]*")  # as transformers.js reads them
GGUF: Final = ("*.gguf",)
A_SOURCE: Final = "a source is a diffusers pipeline or one model, in a folder as save_pretrained writes them."
QUANTIZED: Final = "It holds GGUF, which somebody quantized already."
MARKER: Final = ".comfy_quant"  # what the names of tensors end with by which ComfyUI knows quantized layers
INDEX: Final = ".safetensors.index.json"
MODEL: Final = "model"  # what the one component of a source is called that is no pipeline
MODULES: Final = "modules.json"  # where sentence-transformers lists the folders of a model that it reads
THEIRS: Final = "Name a source whose classes are all theirs: code of a repository is never run."
UNFIT: Final = "Ask its publisher for a whole repository, or pin a commit that is whole."
POINTER: Final = (
    b"version https://git-lfs.github.com/spec/"  # https://github.com/git-lfs/git-lfs/blob/main/docs/spec.md
)
POINTER_LIMIT: Final = 1024  # bytes; git LFS makes none that is larger
READINGS: Final = 2  # what a line damages comes right the second time
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

    def read_large(self, name: str, offset: int, length: int, block: memoryview) -> bytes | memoryview:
        """Read a range that nobody will read again; where that spares copies, into a block."""

    def listed(self, names: Iterable[str]) -> dict[str, ListedFile]:
        """Return some of its files with the digests by which the place vouches for them."""


class Folder:
    """A source in a folder of this machine: as ``save_pretrained`` wrote it, a git clone, or a snapshot in a cache.

    Its files are known by their sizes; those that somebody is to be held to are hashed by `listed`.

    Args:
        path: The folder.
        memory: A file that remembers digests between runs.
        only: The files of it that are looked at, wherever they are links to; all of them where it is left out.
        torn: Whether links may lead nowhere, which are listed as ``dangling`` and in no other way.

    Raises:
        SourceError: The folder is not there, or holds a link that leads out of it or nowhere.
        CannotHereError: Its path is not UTF-8.
    """

    def __init__(self, path: Path, *, memory: Path | None = None, only: Iterable[str] = (), torn: bool = False) -> None:
        if path.is_file():
            reason = f"It is a file, and {A_SOURCE}"
            quantized = matches(path.name, GGUF)
            remedy = FULL_PRECISION if quantized else "Name the folder; what a single file is, `publish lint` tells."
            raise SourceError(f"{reason} {QUANTIZED}" if quantized else reason, where=str(path), remedy=remedy)
        if not path.is_dir():
            remedy = "Make the folder, or correct its name."
            raise SourceError("There is no such folder.", where=str(path), remedy=remedy)
        require_readable_name(path, "Rename the folder, or those above it, or move it.")
        self.path = path
        self.where = str(path)
        self.memory = memory
        self.dangling: list[str] = []
        self._paths = {name: path / name for name in only} or files_of_model(path, self.dangling if torn else None)
        self.files: Mapping[str, ListedFile] = {
            name: ListedFile(size=file.stat().st_size) for name, file in self._paths.items()
        }

    def listed(self, names: Iterable[str]) -> dict[str, ListedFile]:
        """Return some of its files with their digests; each is read, unless it was before and did not change."""
        paths = {name: self._paths[name] for name in names}
        found = digests(paths, self.memory)
        return {name: self.files[name].model_copy(update={"blake3": digest}) for name, digest in found.items()}

    def require_pulled(self, names: Iterable[str]) -> None:
        """Refuse files of which a git clone has no more than where git LFS would find them.

        Raises:
            SourceError: There is one.
        """
        for name in names:
            if self.files[name].size < POINTER_LIMIT and self.read(name, 0, len(POINTER)) == POINTER:
                raise SourceError(
                    f"{name} is not here: git LFS left a pointer to it.",
                    where=self.where,
                    remedy=f"Run `git -C {shlex.quote(str(self.path))} lfs pull`, then the same command again.",
                )

    def read(self, name: str, offset: int, length: int) -> bytes:
        """Read a range of a file; fewer bytes at its end."""
        with (self.path / name).open("rb") as file:
            file.seek(offset)
            return file.read(length)

    def read_large(self, name: str, offset: int, length: int, block: memoryview) -> bytes | memoryview:
        """Read a range of a file past the page cache, into a block that begins at a page; fewer bytes at its end."""
        return read_range(self.path / name, offset, length, block)


class Component(BaseModel):
    """One folder of a pipeline, or a source that is a single model.

    Attributes:
        name: The folder's name, or `MODEL`.
        root: Whether it lies at the source's root.
        library: The package that ``model_index.json`` or its config names, such as ``diffusers``.
        class_name: The class in it.
        small: Its configs and vocabularies, by path from the source's root.
        weights: Its safetensors files, by path from the source's root; empty where it has no weights.
        index: The path of the index of shards, if there is one.
        variant: The variant that these files are of; None where they are the plain ones.
        graphs: Its files of ONNX, by path from the source's root, where it has no other weights.
        blocks: Its single files that somebody quantized, GGUF or ComfyUI's, likewise.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    root: bool = False
    library: str
    class_name: str
    small: tuple[str, ...]
    weights: tuple[str, ...] = ()
    index: str | None = None
    variant: str | None = None
    graphs: tuple[str, ...] = ()
    blocks: tuple[str, ...] = ()

    @property
    def packed_as(self) -> str:
        """The backend that makes such single files as it has; empty where it has none."""
        if not self.blocks:
            return ""
        return "gguf" if matches(self.blocks[0].rpartition("/")[2], GGUF) else "comfy"

    @property
    def config(self) -> str:
        """The path of its config."""
        return f"{self.folder}config.json"

    @property
    def folder(self) -> str:
        """What stands before the paths of its files: its name and a slash, or nothing at the root."""
        return "" if self.root else f"{self.name}/"

    @property
    def files(self) -> dict[str, str]:
        """Its files by the name under which each is published: weights and index without their variant."""
        weights = (*self.weights, *((self.index,) if self.index else ()))
        return {file: file for file in (*self.small, *self.graphs, *self.blocks)} | {
            plain_name(file, self.variant): file for file in weights
        }


class Layout(BaseModel):
    """A pipeline, or a single model as its only component, and the files beside that are published with it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    class_name: str
    components: dict[str, Component]
    top: tuple[str, ...]

    @property
    def wanted(self) -> list[str]:
        """Every file that ``from_pretrained`` reads, and the license files; sorted."""
        return sorted(self.published.values())

    @property
    def published(self) -> dict[str, str]:
        """The same files by the name under which each is published; they differ where a variant is read."""
        files = {name: file for part in self.components.values() for name, file in part.files.items()}
        return {file: file for file in self.top} | files


def read_source(place: Place, variant: str | None = None) -> Layout:
    """Find the files that loading a source reads, be it a pipeline or one component.

    Raises:
        SourceError: As `read_layout` and `read_single`, or it is neither.
    """
    if "model_index.json" in place.files:
        return read_layout(place, variant)
    if "config.json" in place.files:
        return read_single(place, variant)
    reason = "It has neither model_index.json nor config.json."
    if any(matches(name, GGUF) for name in place.files):
        raise SourceError(f"{reason} {QUANTIZED}", where=place.where, remedy=FULL_PRECISION)
    remedy = f"{A_SOURCE[0].upper()}{A_SOURCE[1:]} Correct its name."
    raise SourceError(reason, where=place.where, remedy=remedy)


def read_single(place: Place, variant: str | None = None) -> Layout:
    """Find the files of a source that is a single component: its config lies at the root.

    Raises:
        SourceError: It is a pipeline, its config names no class, or its weights are in a form that is not read here.
    """
    require_safe_names(place)
    require_kind(place, "config.json", "a single model", "model_index.json", "a pipeline")
    config = read_json(place, "config.json")
    architectures = config.get("architectures")
    library, class_name = "diffusers", config.get("_class_name")
    if class_name is None and isinstance(architectures, list) and architectures:
        library, class_name = "transformers", architectures[0]
    if not isinstance(class_name, str):
        reason = "config.json names no class, neither as _class_name (diffusers) nor in architectures (transformers)."
        remedy = "Name a model as save_pretrained writes it, or a whole pipeline with model_index.json."
        raise SourceError(reason, where=place.where, remedy=remedy)
    component = read_component(place, MODEL, library, class_name, variant, root=True)
    if not component.weights and not component.graphs and not component.blocks:
        raise SourceError("It has a config and no weights.", where=place.where, remedy=UNFIT)
    top = (*license_files(place), *module_files(place))
    layout = Layout(class_name=class_name, components={MODEL: component}, top=top)
    return whole(layout, variant, place)


def module_files(place: Place) -> tuple[str, ...]:
    """Return the small files of further modules, such as the pooling of a sentence embedder.

    Raises:
        SourceError: The list of modules cannot be read.
    """
    if MODULES not in place.files:
        return ()
    value = parse(read_small(place, MODULES))
    folders = (
        {str(entry.get("path", "")) for entry in value if isinstance(entry, dict)} if isinstance(value, list) else {}
    )
    return tuple(
        name
        for name in sorted(place.files)
        if name.rpartition("/")[0] in folders and "/" in name and matches(name.rpartition("/")[2], SMALL_FILES)
    )


def read_layout(place: Place, variant: str | None = None) -> Layout:
    """Find the components of a pipeline and the files that loading it reads.

    Args:
        place: Where it lies.
        variant: The variant to read; a component that has none of it is read as it is, as diffusers does.

    Raises:
        SourceError: It is no pipeline, has pickles only, names files that are unsafe or missing, or no component has
            the variant.
    """
    require_safe_names(place)
    require_kind(place, "model_index.json", "a pipeline", "config.json", "a single model")
    index = read_json(place, "model_index.json")
    components = {
        name: read_component(place, name, value[0], value[1], variant)
        for name, value in sorted(index.items())
        if not name.startswith("_")
        and isinstance(value, list)
        and len(value) == 2
        and all(isinstance(part, str) for part in value)
    }
    if not components:
        raise SourceError("model_index.json names no components.", where=place.where, remedy=UNFIT)
    if not isinstance(pipeline := index.get("_class_name"), str):
        reason = f"model_index.json names no pipeline of diffusers as its _class_name, but {pipeline!r}."
        raise SourceError(reason, where=place.where, remedy=THEIRS)
    top = ("model_index.json", *license_files(place))
    layout = Layout(class_name=pipeline, components=components, top=top)
    return whole(layout, variant, place)


def require_safe_names(place: Place) -> None:
    """Refuse a source that names a file so that it would leave its folder."""
    for name in place.files:
        safe_relative(name, place.where)


def require_kind(place: Place, wanted: str, what: str, found: str, other: str) -> None:
    """Refuse a source that is of the other kind, as the file that it has instead of the one that is wanted shows.

    Raises:
        SourceError: It is.
    """
    if found in place.files and wanted not in place.files:
        reason = f"It has {found} and no {wanted}: it is {other}, and the task wants {what}."
        remedy = f"Name {what}, or correct the task of the recipe."
        raise SourceError(reason, where=place.where, remedy=remedy)


def license_files(place: Place) -> tuple[str, ...]:
    """Return the license files at the root."""
    return tuple(name for name in place.files if any(fnmatchcase(name.upper(), form) for form in LICENSE_FILES))


def whole(layout: Layout, variant: str | None, place: Place) -> Layout:
    """Return a layout if its files are here, and some component of it is of the variant that was asked for.

    Raises:
        SourceError: A file is not here, or no component is of that variant.
    """
    if isinstance(place, Folder):
        place.require_pulled(layout.wanted)
    if variant is None or any(part.variant for part in layout.components.values()):
        return layout
    known = sorted({name for part in layout.components.values() for name in variants_of(place, part)})
    remedy = f"It has {', '.join(known)}." if known else "It has no variants; leave the word out."
    raise SourceError(f"No component has weights of the variant {variant!r}.", where=place.where, remedy=remedy)


def variants_of(place: Place, component: Component) -> list[str]:
    """Return the variants that a component has."""
    files, stems = files_of(place, component.folder[:-1]), map(WEIGHTS_NAME.__getitem__, families_of(component.library))
    return sorted({name for stem in stems for name in variants_among(files, stem)})


def read_component(
    place: Place, name: str, library: str, class_name: str, variant: str | None = None, *, root: bool = False
) -> Component:
    """Choose the files of one component as the libraries do: safetensors, and its variant where it has that.

    Raises:
        SourceError: The component has no files, weights in a form that is not read here, or code of its own.
    """
    if not loads_plainly(library):
        reason = f"{name} is a {library}.{class_name}, which is a class neither of diffusers nor of transformers."
        raise SourceError(reason, where=place.where, remedy=THEIRS)
    inside = files_of(place, "" if root else name)
    small = [path for file, path in inside.items() if matches(file, SMALL_FILES) and not INDEX_FILE.fullmatch(file)]
    if not small:
        reason = f"model_index.json names the component {name}, which has no files."
        raise SourceError(reason, where=place.where, remedy=UNFIT)
    component = Component(name=name, root=root, library=library, class_name=class_name, small=tuple(sorted(small)))
    for wanted in dict.fromkeys((variant, None)):
        weights, index = find_weights(place, component, wanted)
        if weights:
            return component.model_copy(update={"weights": weights, "index": index, "variant": wanted})
    if graphs := [path for file, path in sorted(inside.items()) if any(fnmatchcase(file, form) for form in GRAPHS)]:
        return component.model_copy(update={"graphs": tuple(graphs)})
    found = [path for file, path in sorted(inside.items()) if matches(file, ("*.safetensors",))]
    blocks = [path for file, path in sorted(inside.items()) if matches(file, GGUF)]
    if blocks := blocks or [path for path in found if is_marked(place, path)]:
        return component.model_copy(update={"blocks": tuple(blocks)})
    if found := [path for file, path in inside.items() if matches(file, (*PICKLES, "*.safetensors"))]:
        raise unreadable(place, component, found)
    return component


def is_marked(place: Place, path: str) -> bool:
    """Return whether a file of safetensors holds layers as ComfyUI's quantized ones; one that is broken holds none."""
    try:
        return any(name.endswith(MARKER) for name in header_of(place, path))
    except SourceError:
        return False


def header_of(place: Place, path: str) -> dict[str, TensorInfo]:
    """Return the tensors of a file of weights, read by ranges.

    Raises:
        SourceError: Its header lies.
    """
    read, size, where = partial(place.read, path), place.files[path].size, f"{place.where}/{path}"
    if matches(path.rpartition("/")[2], GGUF):
        return gguf.parse_header(read, size, where).tensors
    return parse_header(read, size, where)


def files_of(place: Place, name: str) -> dict[str, str]:
    """Return the paths of the files in a component's folder by their path from there."""
    folder = f"{name}/" if name else ""
    return {path.removeprefix(folder): path for path in place.files if path.startswith(folder)}


def find_weights(place: Place, component: Component, variant: str | None) -> tuple[tuple[str, ...], str | None]:
    """Return the weight files of a component and their index, of one variant or the plain ones; none if it has none.

    Raises:
        SourceError: The index cannot be read, or names a file that is missing or unsafe.
    """
    found = (find_weights_as(family, place, component, variant) for family in families_of(component.library))
    return next((each for each in found if each[0]), ((), None))


def find_weights_as(
    family: str, place: Place, component: Component, variant: str | None
) -> tuple[tuple[str, ...], str | None]:
    """Return the same of a component whose files are named as one of the libraries does.

    Where there are both shards and a single file, diffusers reads the shards and transformers the file.

    Raises:
        SourceError: The index cannot be read, or names a file that is missing or unsafe.
    """
    inside, stem = files_of(place, component.folder[:-1]), WEIGHTS_NAME[family]
    single = inside.get(weights_file(stem, variant))
    indexes = [inside[file] for file in index_files(family, stem, variant) if file in inside]
    if not indexes or (single and family != "diffusers"):
        return ((single,) if single else (), None)
    weights = tuple(f"{component.folder}{file}" for file in sorted(set(weight_map(place, indexes[0]).values())))
    if missing := [file for file in weights if file not in place.files]:
        what = "The index" if component.root else f"The index of {component.name}"
        raise SourceError(f"{what} names {missing[0]}, which is missing.", where=place.where, remedy=UNFIT)
    if len({plain_name(file, variant) for file in weights}) < len(weights):
        reason = "The index names a shard both plainly and as a variant."
        raise SourceError(reason, where=f"{place.where}/{indexes[0]}", remedy=UNFIT)
    return weights, indexes[0]


def is_pickle(path: str) -> bool:
    """Return whether a file is of a kind that runs code, or may, when it is read; whatever the case of its name."""
    return matches(path.rpartition("/")[2].lower(), PICKLES)


def matches(file: str, patterns: tuple[str, ...]) -> bool:
    """Return whether a file directly inside a component is of one of these kinds."""
    return "/" not in file and any(fnmatchcase(file, pattern) for pattern in patterns)


def unreadable(place: Place, component: Component, found: list[str]) -> SourceError:
    """Return the error for weights that exist in no form that is read here."""
    name = component.class_name if component.root else component.name
    variants = variants_of(place, component)
    if variants:
        reason = f"The weights of {name} exist as variants only: {', '.join(variants)}."
        remedy = f"Choose one: `variant: {variants[0]}` in the source of the recipe, or --variant {variants[0]}."
    elif all(map(is_pickle, found)):
        reason = f"The weights of {name} are pickles only ({found[0]}), and pickles are never read."
        remedy = "Ask the publisher for safetensors, or convert the model where running its code is safe."
    else:
        reason = f"The weights of {name} have no plain safetensors file, only others such as {found[0]}."
        remedy = "Ask the publisher for weights as save_pretrained writes them."
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


def read_slots(place: Place, component: Component) -> dict[str, Mapping[str, TensorInfo]]:
    """Read the tensor headers of a component by ranges; the weights themselves are not read.

    Returns:
        For every weight file its tensors.

    Raises:
        SourceError: A header lies, or the index and the files disagree.
    """
    slots: dict[str, Mapping[str, TensorInfo]] = {
        file: header_of(place, file) for file in (*component.weights, *component.blocks)
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
    """Read a small file whole, and hold it to the digest by which its place vouches for it, where it has one.

    Raises:
        SourceError: It is missing, not small, or another one.
    """
    if name not in place.files:
        remedy = "A source is a whole diffusers pipeline with model_index.json, or correct its name."
        raise SourceError(f"It has no {name}.", where=place.where, remedy=remedy)
    if place.files[name].size > SMALL_LIMIT:
        reason = f"{name} has {place.files[name].size} bytes, too many for what it should be."
        raise SourceError(reason, where=place.where, remedy=UNFIT)
    if isinstance(place, Folder):
        place.require_pulled([name])
    for _ in range(READINGS):
        content = place.read(name, 0, place.files[name].size)
        if place.files[name].is_of(content):
            return content
    remedy = "A proxy, a disk or the Hub damages them; run again, and if it stays so from another network."
    raise SourceError(f"The bytes of {name} are not those that are listed.", where=place.where, remedy=remedy)


def read_json(place: Place, name: str) -> dict[str, Any]:
    """Read a small JSON object.

    Raises:
        SourceError: It is missing or no JSON object.
    """
    try:
        value = parse(read_small(place, name))
        require_shallow(value)
    except ValueError as error:
        raise SourceError(f"{name} is no JSON ({error}).", where=place.where, remedy=UNFIT) from error
    if not isinstance(value, dict):
        raise SourceError(f"{name} is no JSON object.", where=place.where, remedy=UNFIT)
    return value

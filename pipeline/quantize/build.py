"""Quantize: the source streamed through the backends into the checkpoint folders of one target or of many."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from math import log10
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

from blake3 import blake3

from pipeline.backends import BACKENDS, STREAMING, Streaming
from pipeline.backends.artifact import CONFIG, Artifact
from pipeline.backends.available import require
from pipeline.backends.library import LibraryPacking
from pipeline.backends.protocol import Packing
from pipeline.events import Event, Listener
from pipeline.files import BuiltFile, ListedFile, copy, files_under, hashed, link_or_copy, pretty_json, write_atomically
from pipeline.plan.model import ResolvedComponent, TargetPlan, samples_of, watched
from pipeline.plan.questions import questions_folder, request_of
from pipeline.quantize.component_writer import Job, Made, restored
from pipeline.quantize.inputs import Inputs, in_one_tensor, inputs_of
from pipeline.quantize.room import CHECKPOINT, require_room, results_to_come
from pipeline.quantize.spans import WeightFile, local_file
from pipeline.quantize.stream import DamagedDownloadError, require_listed, stream
from pipeline.quantize.whole import made_before, make_whole
from pipeline.recipe import Quantization
from pipeline.source.classes import WEIGHTS_NAME
from pipeline.source.disk import Opened
from pipeline.source.layout import INDEX, Layout
from pipeline.source.safetensors import STORED_DTYPES, TensorInfo
from pipeline.source.variants import plain_index
from pipeline.store import Store
from pipeline.tasks.answers import Request

MEASURED: Final = "publish/quantization.json"
JOURNALS: Final = ".journals"


@dataclass(frozen=True)
class Packer:
    """A backend with its scheme, as the stream uses it; on a CUDA device where it is told so or can nowhere else."""

    backend: Streaming
    scheme: str
    options: Mapping[str, Any]
    device: str = "cpu"
    class_name: str = ""

    @property
    def describes(self) -> bool:
        """Whether `describe` tells all that the header's metadata says of a weight."""
        return self.backend.SCHEMES[self.scheme].makes_on == "cpu"

    def packing(self, name: str, shape: tuple[int, ...], dtype: str) -> Packing:
        """Return our kernel for a weight, else its library."""
        device = self.device if self.describes else "cuda"
        own = self.backend.packing(self.scheme, self.options, name, shape, dtype) if device == "cpu" else None
        return own or LibraryPacking(self.backend, self.scheme, self.options, name, shape, dtype, device)

    def describe(self, name: str, shape: tuple[int, ...], dtype: str) -> str | None:
        """Return what the header's metadata says of a weight."""
        return self.backend.describe(self.scheme, self.options, name, shape, dtype)

    def metadata(self, parameters: list[str], described: Mapping[str, str]) -> Mapping[str, Any]:
        """Return the header's metadata."""
        return self.backend.metadata(self.scheme, self.class_name, parameters, described)


def warm(quantizations: Iterable[Quantization]) -> None:
    """Begin to load the kernels, or to compile them where that was never done, while somebody else is waited for."""

    def load_all() -> None:
        import numpy as np

        from pipeline.kernels.cast import VALUES, non_finite

        non_finite(np.zeros(1, VALUES["BF16"]), "BF16")
        for chosen in quantizations:
            backend = STREAMING.get(chosen.backend)
            if backend and backend.SCHEMES[chosen.scheme].makes_on == "cpu":
                packer = Packer(backend, chosen.scheme, chosen.options)
                packing = packer.packing("weight", (64, 128), chosen.dtype)
                packing.pack(0, np.zeros(64 * 128, VALUES[STORED_DTYPES[chosen.dtype]]))
                packing.finish()

    # What fails here fails again, and is told, where it is needed.
    threads = ThreadPoolExecutor(1, "warm")
    threads.submit(load_all)
    threads.shutdown(wait=False)


@dataclass(frozen=True)
class Origin:
    """Where the source's bytes come from.

    Attributes:
        folder: A folder with the source's files; those that are missing in it are read from the Hub as they are used.
        files: The source's files, as their place lists them.
        layout: Its components, and the names under which its files are published.
        where: How the source is named in messages.
        remote: Opens a file on the Hub; none where the folder has everything.
        stored: Files in the folder by the digest that they had when their download was proven.
        lent: Whether what is made is somebody's own folder, which then shares no file with this one.
    """

    folder: Path
    files: Mapping[str, ListedFile]
    layout: Layout
    where: str
    remote: Callable[[str], Opened] | None = None
    stored: Mapping[str, ListedFile] = field(default_factory=dict)
    lent: bool = False

    def weight_file(self, name: str, slots: Mapping[str, TensorInfo]) -> WeightFile:
        """Return a weight file as the stream reads it."""
        where, listed = f"{self.where}/{name}", self.files[name]
        if self.remote is None or (self.folder / name).exists():
            return local_file(self.folder / name, name, slots, listed, where, self.stored.get(name))
        return WeightFile(name, slots, listed, where, partial(self.remote, name), tuple)

    def put(self, parts: Mapping[str, ResolvedComponent], folder: Path) -> None:
        """Put the files that a checkpoint takes as they are into its folder, under plain names."""
        replaced = {file for part in parts.values() for file in (*part.component.weights, part.component.index)}
        replaced |= {part.component.config for part in parts.values() if part.form.config}
        replaced |= {f"{part.component.folder}{name}" for part in parts.values() for name in part.form.rewrites}
        for name, source in self.layout.published.items():
            if source not in replaced:
                self.lay(name, source, folder / name, copy if self.lent else link_or_copy)

    def lay(self, name: str, source: str, at: Path, share: Callable[[Path, Path], Any]) -> None:
        """Put a file somewhere that is published under a plain name."""
        variants = {part.index: part.variant for part in self.layout.components.values()}
        if name != source and source in variants:
            content = plain_index((self.folder / source).read_bytes(), variants[source], f"{self.where}/{source}")
            write_atomically(at, content)
        else:
            share(self.folder / source, at)


@dataclass(frozen=True)
class Result:
    """One checkpoint to make.

    Attributes:
        folder: Where; it may hold what an interrupted run left.
        parts: What is known of each component to quantize.
        device: Where the library packs what it packs itself.
        request: What the source is asked, on which some schemes depend; None where there is nothing.
        inputs: What the layers of those components were given meanwhile that are calibrated and streamed.
    """

    folder: Path
    parts: Mapping[str, ResolvedComponent]
    device: str = "cpu"
    request: Request | None = None
    inputs: Inputs = field(default_factory=dict)

    def journal(self, component: str) -> Path:
        """Return the file that remembers which files of a component are done."""
        return self.folder / JOURNALS / f"{component}.json"

    def out(self, component: str) -> Path:
        """Return the folder of a component."""
        return self.folder / self.parts[component].component.folder

    def job(self, component: str) -> Job:
        """Return what the stream makes of a component, which is a streamed one, for this checkpoint."""
        part = self.parts[component]
        backend = STREAMING[part.quantization.backend]
        chosen, class_name = part.quantization, part.component.class_name
        seen = {"inputs": in_one_tensor(self.inputs[component], part.file)} if watched(part) else {}
        packer = Packer(backend, chosen.scheme, chosen.options | seen, self.device, class_name)
        out = self.out(component)
        out.mkdir(parents=True, exist_ok=True)
        return Job(
            part.answer, part.tensors, part.weights, packer, out, self.journal(component), part.form.format, part.file
        )


def quantize(
    plans: Sequence[TargetPlan],
    asked: Sequence[Mapping[str, ResolvedComponent]],
    origin: Origin,
    store: Store,
    listen: Listener,
) -> list[Path]:
    """Return the checkpoint folders of targets that share a source; each of its files is read once for all of them.

    Args:
        plans: The targets' plans.
        asked: For each plan, what is known of each component to quantize.
        origin: The source.
        store: Where checkpoints are kept.
        listen: Hears of progress in bytes of the source.

    Raises:
        CannotHereError: A library or device is missing, or the disk is full.
        SourceError: The source is broken, or a weight holds NaN or Inf.
        QuantizationError: The library failed.
    """
    for parts in asked:
        for part in parts.values():
            require(BACKENDS[part.quantization.backend], part.quantization.scheme)
    known = {plan.build_key: (plan, parts) for plan, parts in zip(plans, asked, strict=True)}

    def build(folders: Mapping[str, Path]) -> None:
        require_room(results_to_come([known[key][0] for key in folders], store, origin.folder), store)
        results = [
            Result(
                folder,
                parts,
                request=request_of(plan, questions_folder(plan.validation, store)),
                inputs=inputs_of(plan, parts, origin, store, listen),
            )
            for folder, (plan, parts) in ((folder, known[key]) for key, folder in folders.items())
        ]
        subject = known[next(iter(folders))][0].target if len(folders) == 1 else f"{len(folders)} targets"
        make(results, origin, subject, listen)

    try:
        return store.make_all(CHECKPOINT, list(known), build, resume=True)
    except DamagedDownloadError:
        store.drop("fetch", origin.folder.name)
        raise


def make(results: Sequence[Result], origin: Origin, subject: str, listen: Listener) -> None:
    """Fill the folders of checkpoints, each component of the source read once; finished files are kept.

    Args:
        results: The checkpoints.
        origin: The source they share.
        subject: How they are named to the listener.
        listen: Hears of progress in bytes of the source.
    """
    for result in results:
        keep_finished(result)
        origin.put(result.parts, result.folder)
    components = {name: part for result in results for name, part in result.parts.items()}
    total = sum(origin.files[file].size for part in components.values() for file in part.slots)
    done = 0

    def heard(tensor: str, size: int) -> None:
        nonlocal done
        done += size
        listen(Event("progress", "quantize", subject, tensor, done, total, "B"))

    notes: list[dict[str, Any]] = [{} for _ in results]
    for name, part in components.items():
        takers = [number for number, result in enumerate(results) if name in result.parts]
        files = [origin.weight_file(file, slots) for file, slots in part.slots.items()]
        streamed = [number for number in takers if results[number].parts[name].streamed]
        jobs = [results[number].job(name) for number in streamed]
        for number, made in zip(streamed, stream(files, jobs, heard) if jobs else (), strict=True):
            seen = {"inputs": results[number].inputs[name]} if watched(results[number].parts[name]) else {}
            notes[number][name] = measurements(made, finish(results[number], name, made)) | seen
        for number in takers:
            if number not in streamed:
                notes[number][name] = build_whole(results[number], name, origin, files)
        if not streamed:
            heard(name, sum(file.listed.size for file in files))
    for result, found in zip(results, notes, strict=True):
        write_atomically(result.folder / MEASURED, pretty_json(found))
        shutil.rmtree(result.folder / JOURNALS)


def streamed_files(parts: Mapping[str, ResolvedComponent]) -> set[str]:
    """Return the files of the source that are read once, forwards, and so need not be stored.

    None are where the source is asked questions meanwhile.
    """
    if any(map(watched, parts.values())):
        return set()
    return {file for part in parts.values() if part.streamed for file in part.slots}


def keep_finished(result: Result) -> None:
    """Remove what an interrupted run left in a folder, except the files that its journals say are done."""
    kept = set()
    for name in result.parts:
        journal, out = result.journal(name), result.out(name)
        done = restored(journal) if result.parts[name].streamed else made_before(journal)
        kept |= {journal, *(out / file for file in (done.files if done else ()))}
    for path in files_under(result.folder):
        if path not in kept:
            path.unlink()


def build_whole(result: Result, name: str, origin: Origin, files: Sequence[WeightFile]) -> dict[str, Any]:
    """Have a component made by its library alone, and return what was measured."""
    part, out = result.parts[name], result.out(name)
    sources = {}
    for file in files:
        (found,) = hashed(origin.folder / file.name, (file.stored or file.listed).hashing())
        sources[file.name] = require_listed(file, found)
    samples = samples_of(part)
    request = result.request.only(samples, 1) if result.request and samples else None
    asked = part.component.small if request else ()
    read = {*part.component.weights, part.component.index, part.component.config, *asked}
    with TemporaryDirectory() as folder:
        for plain, source in part.component.files.items():
            if source in read or part.form.rewrites:
                origin.lay(plain, source, Path(folder) / plain.rpartition("/")[2], link)
        artifact = make_whole(part, Path(folder), out, result.journal(name), result.device, request)
    return measurements(Made(sources=sources), artifact)


def link(source: Path, at: Path) -> None:
    """Show a file under another name to whoever only reads it."""
    at.symlink_to(source.resolve())


def finish(result: Result, name: str, made: Made) -> Artifact:
    """Write what lies beside the weights of a component, and return all that was made of it."""
    part, out = result.parts[name], result.out(name)
    beside = {CONFIG: part.answer.config.encode()} if part.form.config else {}
    if index := part.weights.index():
        beside[f"{WEIGHTS_NAME[part.component.library]}{INDEX}"] = index
    for file, content in beside.items():
        write_atomically(out / file, content)
    told = {file: BuiltFile(size=len(text), blake3=blake3(text).hexdigest()) for file, text in beside.items()}
    return Artifact(files=made.files | told, weights=tuple(sorted(made.files)))


def measurements(made: Made, artifact: Artifact) -> dict[str, Any]:
    """Return what was measured while a component was made.

    For each file of the source its digest, the files of the result, and for each quantized tensor the ratio of signal
    to quantization noise in dB; none where it is exact or its library packed it.
    """
    return {
        "source": dict(sorted(made.sources.items())),
        **artifact.model_dump(mode="json"),
        "sqnr": {name: decibels(*error) for name, error in sorted(made.errors.items())},
    }


def measured(folder: Path) -> dict[str, Any]:
    """Return what was measured while a checkpoint was made, by component."""
    return dict(json.loads((folder / MEASURED).read_bytes()))


def decibels(noise: float, signal: float) -> float | None:
    """Return the SQNR of a tensor."""
    return round(10 * log10(signal / noise), 3) if noise and signal else None

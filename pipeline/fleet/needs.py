"""Needs: what a published repository takes of whoever loads it, read from its plan, its configs and its headers."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Set
from dataclasses import dataclass, replace
from math import prod
from typing import Any, Final

from pydantic import ValidationError

from pipeline.backends import BACKENDS, Loader, Scheme
from pipeline.backends.loader import EVERYWHERE
from pipeline.card.compose import judged_in
from pipeline.errors import SourceError
from pipeline.hub.client import Hub
from pipeline.hub.release_files import PLAN, REPORT
from pipeline.hub.source import Repository
from pipeline.hub.withdrawn import Withdrawal, read_withdrawals
from pipeline.plan.footprint import Footprint, footprint
from pipeline.plan.model import Slots, TargetPlan, flat, read_plan
from pipeline.source.layout import Component, read_json, read_slots, read_source
from pipeline.source.safetensors import DTYPE_SIZES, FLOATS, TensorInfo
from pipeline.tasks import TASKS
from pipeline.tasks.answers import Facts
from pipeline.validate import Report

LARGEST: Final = 64 << 20  # bytes of a document, which is read whole
HALVES: Final = frozenset({"BF16", "F16"})  # in which no library keeps scales as long as a row
WIDTHS: Final = {"float64": 8, "float32": 4}  # bytes of a weight in a dtype that all is loaded in; two in any other
ASKED: Final = "bfloat16"  # of a pipeline whose card is none of ours: unasked, diffusers makes float32 of anything


@dataclass(frozen=True)
class Part:
    """A component as it is loaded.

    Attributes:
        library: The package whose ``from_pretrained`` loads it.
        class_name: Its class.
        method: The ``quant_method`` of its config; empty where it is not quantized.
        size: Bytes of its weights when they are loaded.
        scheme: What its backend was asked for, where the plan says.
    """

    library: str
    class_name: str
    method: str
    size: int
    scheme: Scheme | None = None

    @property
    def loader(self) -> Loader | None:
        """How it is loaded, where a backend of ours made it or could have."""
        backend = BACKENDS.get(self.method)
        return backend.LOADERS.get(self.library) if backend else None


@dataclass(frozen=True)
class Needs:
    """What a repository takes.

    Attributes:
        repository: The repository.
        commit: What was read of it.
        pipeline: Whether it is a pipeline of components, and not a single model.
        parts: Its components that have weights.
        files: Bytes of the files that loading it reads, by name.
        footprint: What a pipeline takes beside its weights; None for a single model, which takes little.
        plan: What it was made by, where quantpress made it.
        judged: How it answered when it was judged, where it was.
        confined: Bytes that it took at most on a processor within a small device's limits, where that was tried.
        withdrawn: Why it was withdrawn, where it was.
    """

    repository: str
    commit: str
    pipeline: bool
    parts: Mapping[str, Part]
    files: Mapping[str, int]
    footprint: Footprint | None = None
    plan: TargetPlan | None = None
    judged: Facts | None = None
    confined: int | None = None
    withdrawn: Withdrawal | None = None

    @property
    def weights(self) -> int:
        """Bytes of all weights when they are loaded."""
        return sum(part.size for part in self.parts.values())

    @property
    def activations(self) -> int:
        """Bytes that answering takes beside the weights, reckoned."""
        return max(self.footprint.working.values()) if self.footprint else 0

    @property
    def distributions(self) -> dict[str, str | None]:
        """What must be installed, each with the version that it was made with where that is known."""
        made = self.plan.versions if self.plan else {}
        libraries = {part.library.partition(".")[0] for part in self.parts.values()}
        known = TASKS[self.plan.task].installs if self.plan and self.plan.task in TASKS else ("accelerate",)
        methods = {BACKENDS[part.method].DISTRIBUTION for part in self.parts.values() if part.method in BACKENDS}
        top = {"diffusers"} if self.pipeline else set[str]()
        names = {"torch", *top, *(libraries & {"diffusers", "transformers"}), *known, *methods}
        spared = {name for part in self.parts.values() if part.loader for name in part.loader.spares}
        return {name: made.get(name) for name in sorted(names - spared)}

    @property
    def devices(self) -> set[str]:
        """What all of its components load onto, by torch's names: everything that nothing is known against."""
        found = set(EVERYWHERE)
        for part in self.parts.values():
            found &= set(part.loader.devices) if part.loader else found
            found &= {"cuda"} if part.scheme and part.scheme.makes_on == "cuda" else found
        return found

    @property
    def capability(self) -> float:
        """The least compute capability that a CUDA device must have; 0 where any does."""
        return max((part.scheme.capability for part in self.parts.values() if part.scheme), default=0.0)

    @property
    def dtype(self) -> str:
        """What has to be said as ``dtype`` when it is loaded; empty where loading finds it out by itself."""
        if self.line:
            return ""
        library = next((part.library for part in self.parts.values()), "")
        return said_dtype(self.plan, pipeline=self.pipeline, library=library)

    @property
    def line(self) -> str:
        """The line of Python that loads it, where that is no ``from_pretrained``."""
        return next((part.loader.line for part in self.parts.values() if part.loader and part.loader.line), "")

    @property
    def onto_gpu(self) -> int:
        """Bytes of the weights that loading itself puts onto a GPU."""
        return sum(part.size for part in self.parts.values() if part.loader and part.loader.onto_gpu)

    @property
    def unknown(self) -> list[str]:
        """Methods of quantization that no backend here has."""
        return sorted({part.method for part in self.parts.values() if part.method not in {"", *BACKENDS}})


def read_needs(hub: Hub, repo: str, revision: str | None) -> Needs:
    """Read what a repository needs; of its weights the headers alone.

    Raises:
        SourceError: It is not there, not for this token, or nothing that ``from_pretrained`` loads.
        HubUnavailableError: The Hub does not answer.
    """
    commit = hub.find(repo, revision)
    if commit is None:
        what = f"There is no such {'revision' if revision else 'repository'} on {hub.endpoint}."
        remedy = "Correct its name, or name another Hub with --hub or HF_ENDPOINT; a private one wants HF_TOKEN."
        raise SourceError(what, where=f"{repo}@{revision}" if revision else repo, remedy=remedy)
    place, plan = hub.source(repo, commit), read_plan(hub.content(repo, commit, PLAN, LARGEST))
    place = without(place, plan.files_beside) if plan else place
    layout = read_source(place)
    weighty = {name: part for name, part in layout.components.items() if part.weights or part.graphs or part.blocks}
    slots = {name: read_slots(place, part) for name, part in weighty.items()}
    parts = {name: read_part(place, part, slots[name], plan) for name, part in weighty.items()}
    files = {name: place.files[name].size for name in layout.wanted}
    pipeline, report = "model_index.json" in place.files, judgement(hub, repo, commit) if plan else None
    taken = read_footprint(place, weighty, slots, parts, plan) if pipeline else None
    withdrawn = withdrawal(hub, repo, plan) if plan else None
    judged, confined = (report.candidate, confined_bytes(report)) if report else (None, None)
    return Needs(repo, commit, pipeline, parts, files, taken, plan, judged, confined, withdrawn)


def without(place: Repository, beside: Set[str]) -> Repository:
    """Return a repository without the files that lie beside the first of their component."""
    files = {name: file for name, file in place.files.items() if name not in beside}
    return Repository(place.hub, place.repo, place.revision, files)


def read_part(place: Repository, component: Component, slots: Slots, plan: TargetPlan | None) -> Part:
    """Read what a component is and how large its weights are when they are loaded."""
    config = read_json(place, component.config) if component.config in place.files else {}
    method = method_of(config)
    planned = plan.components.get(component.name) if plan else None
    if component.graphs:
        size = sum(place.files[name].size for name in component.graphs)
        return Part(component.library, component.class_name, graph_backend(component.library), size)
    method = component.packed_as or method
    said = said_dtype(plan, pipeline="model_index.json" in place.files, library=component.library)
    width = WIDTHS.get(said, 2) if said else own_width(config, slots)
    sizes = loaded_sizes(flat(slots).values(), None if method and not component.blocks else width)
    backend = BACKENDS.get(planned.quantization.backend) if planned else None
    scheme = backend.SCHEMES.get(planned.quantization.scheme) if backend and planned else None
    return Part(component.library, component.class_name, method, sum(sizes), scheme)


def said_dtype(plan: TargetPlan | None, *, pipeline: bool, library: str) -> str:
    """Return the dtype that whoever loads a repository says: that of its card, where it is ours.

    transformers loads a model of its own as its config or its files have it, and nobody has to say anything.
    """
    if plan and plan.components:
        return plan.dtype
    return ASKED if pipeline or library == "diffusers" else ""


def own_width(config: Mapping[str, Any], slots: Slots) -> int:
    """Return the bytes of a float as transformers loads it unasked: in the dtype of its config, else as stored."""
    said = config.get("dtype") or config.get("torch_dtype")
    stored = (DTYPE_SIZES[slot.dtype] for slot in flat(slots).values() if slot.dtype in FLOATS)
    return WIDTHS.get(str(said), 2) if said else max(stored, default=2)


def method_of(config: Mapping[str, Any]) -> str:
    """Return the ``quant_method`` of a config; empty where there is none."""
    found = config.get("quantization_config")
    return str(found.get("quant_method", "unknown")) if isinstance(found, dict) else ""


def graph_backend(library: str) -> str:
    """Return the backend that makes graphs of a library's components; no config tells it."""
    known = {name: backend.LOADERS.get(library) for name, backend in BACKENDS.items()}
    return next((name for name, loader in known.items() if loader and not loader.form.config), "")


def loaded_sizes(tensors: Iterable[TensorInfo], width: int | None) -> list[int]:
    """Return the bytes of tensors when they are loaded: as they are stored, or floats with so many bytes each."""
    return [prod(slot.shape) * width if width and slot.dtype in FLOATS else slot.end - slot.begin for slot in tensors]


def read_footprint(
    place: Repository,
    components: Mapping[str, Component],
    slots: Mapping[str, Slots],
    parts: Mapping[str, Part],
    plan: TargetPlan | None,
) -> Footprint:
    """Return what a pipeline takes beside its weights when it is called as its plan says."""
    packed = {name for name, part in parts.items() if part.method not in {"", "gguf"}}
    shapes = {name: unpacked(found) if name in packed else found for name, found in slots.items()}
    call, task = (plan.validation.call, plan.task) if plan else ({}, "")
    largest = {name: max(loaded_sizes(flat(found).values(), 2)) for name, found in slots.items()}
    return replace(footprint(place, components, shapes, call, task), largest=largest)


def unpacked(slots: Slots) -> Slots:
    """Return the matrices of a quantized component as wide as its biases and norms say, for packed codes may not."""
    plain = {name: slot for name, slot in flat(slots).items() if slot.dtype in HALVES}
    square = {name: replace(slot, shape=slot.shape * 2) for name, slot in plain.items() if len(slot.shape) == 1}
    kept = {name: slot for name, slot in plain.items() if len(slot.shape) == 2 and slot.shape[1] > 1}  # no scales
    return {"": square | kept} if square else slots


def judgement(hub: Hub, repo: str, commit: str) -> Report | None:
    """Return what was measured when a published checkpoint was judged; None where no report says so."""
    text = hub.content(repo, commit, REPORT, LARGEST)
    try:
        return judged_in(json.loads(text)) if text else None
    except (ValidationError, ValueError, AttributeError):
        return None


def confined_bytes(report: Report) -> int | None:
    """Return the bytes that a checkpoint took within a small device's limits; None where it was not tried or failed."""
    found = (use for use in report.uses if use.kind == "device" and use.verdict == "PASS")
    return next((int(use.numbers["peak_memory"]) for use in found), None)


def withdrawal(hub: Hub, repo: str, plan: TargetPlan) -> Withdrawal | None:
    """Return why what a plan made was withdrawn, as ``main`` says; None where it was not."""
    head = hub.find(repo, None)
    found = read_withdrawals(hub, repo, head).tags.values() if head else ()
    return next((tag for tag in found if tag.plan == plan.content_digest), None)

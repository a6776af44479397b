"""Needs: what a published repository takes of whoever loads it, read from its plan, its configs and its headers."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import prod
from typing import Any, Final

from pydantic import ValidationError

from pipeline.backends import BACKENDS, Loader, Scheme
from pipeline.backends.loader import EVERYWHERE
from pipeline.card.stage import judged_in
from pipeline.errors import SourceError
from pipeline.hub.client import Hub
from pipeline.hub.release_files import PLAN, REPORT
from pipeline.hub.source import Repository
from pipeline.hub.withdrawn import Withdrawal, read_withdrawals
from pipeline.plan.model import TargetPlan, flat, read_plan, scheme_of
from pipeline.plan.parts import LadderStep
from pipeline.source.layout import Component, read_json, read_slots, read_source
from pipeline.source.safetensors import DTYPE_SIZES, FLOATS, TensorInfo
from pipeline.tasks import TASKS
from pipeline.tasks.answers import Facts
from pipeline.validate.stage import pipeline_dtype

LARGEST: Final = 64 << 20  # bytes of a document, which is read whole
WIDTHS: Final = {"float32": 4}  # bytes of a weight in the dtype that all is loaded in; two in any other
PER_PIXEL: Final = 4_900  # bytes: FLUX.1-dev takes 4.1 to 5.1 GiB beside its weights for a picture of 1024 x 1024,
# https://huggingface.co/datasets/derekl35/diffusers-quantization-benchmarks
SIDE: Final = 1024  # pixels, where the plan says nothing
DECODED_AT_ONCE: Final = 4  # frames; the decoders of videos take a few at a time


@dataclass(frozen=True)
class Part:
    """A component as it is loaded.

    Attributes:
        library: The package whose ``from_pretrained`` loads it.
        class_name: Its class.
        method: The ``quant_method`` of its config; empty where it is not quantized.
        size: Bytes of its weights when they are loaded.
        largest: Bytes of the largest of them.
        scheme: What its backend was asked for, where the plan says.
    """

    library: str
    class_name: str
    method: str
    size: int
    largest: int
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
        plan: What it was made by, where quantpress made it.
        judged: How it answered when it was judged, where it was.
        withdrawn: Why it was withdrawn, where it was.
    """

    repository: str
    commit: str
    pipeline: bool
    parts: Mapping[str, Part]
    files: Mapping[str, int]
    plan: TargetPlan | None = None
    judged: Facts | None = None
    withdrawn: Withdrawal | None = None

    @property
    def weights(self) -> int:
        """Bytes of all weights when they are loaded."""
        return sum(part.size for part in self.parts.values())

    @property
    def activations(self) -> int:
        """Bytes that answering takes beside the weights, reckoned."""
        return activations(self.plan.validation.call if self.plan else {}) if self.pipeline else 0

    @property
    def step(self) -> LadderStep | None:
        """What the ladder that it is on says of it; None where it is on none."""
        return self.plan.step if self.plan else None

    @property
    def distributions(self) -> dict[str, str | None]:
        """What must be installed, each with the version that it was made with where that is known."""
        made = self.plan.versions if self.plan else {}
        libraries = {part.library.partition(".")[0] for part in self.parts.values()}
        known = TASKS[self.plan.task].installs if self.plan and self.plan.task in TASKS else ("accelerate",)
        methods = {BACKENDS[part.method].DISTRIBUTION for part in self.parts.values() if part.method in BACKENDS}
        top = {"diffusers"} if self.pipeline else set[str]()
        names = {"torch", *top, *(libraries & {"diffusers", "transformers"}), *known, *methods}
        return {name: made.get(name) for name in sorted(names)}

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
    def onto_gpu(self) -> int:
        """Bytes of the weights that loading itself puts onto a GPU."""
        return sum(part.size for part in self.parts.values() if part.loader and part.loader.onto_gpu)

    @property
    def unknown(self) -> list[str]:
        """Methods of quantization that no backend here has."""
        return sorted({part.method for part in self.parts.values() if part.method not in {"", *BACKENDS}})


def activations(call: Mapping[str, Any]) -> int:
    """Return the bytes that a pipeline takes beside its weights for one answer to a call.

    Most is taken where the latents become pixels, so they are reckoned by their number.
    """
    height, width = (int(call.get(name) or SIDE) for name in ("height", "width"))
    return PER_PIXEL * height * width * min(int(call.get("num_frames") or 1), DECODED_AT_ONCE)


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
    place = hub.source(repo, commit)
    layout, plan = read_source(place), read_plan(hub.content(repo, commit, PLAN, LARGEST))
    parts = {name: read_part(place, part, plan) for name, part in layout.components.items() if part.weights}
    files = {name: place.files[name].size for name in layout.wanted}
    pipeline, judged = "model_index.json" in place.files, read_facts(hub, repo, commit) if plan else None
    return Needs(repo, commit, pipeline, parts, files, plan, judged, withdrawal(hub, repo, plan) if plan else None)


def read_part(place: Repository, component: Component, plan: TargetPlan | None) -> Part:
    """Read what a component is and how large its weights are when they are loaded."""
    config = read_json(place, component.config) if component.config in place.files else {}
    method = method_of(config)
    planned = plan.components.get(component.name) if plan else None
    width = WIDTHS.get(pipeline_dtype(plan), 2) if plan else 2
    sizes = loaded_sizes(flat(read_slots(place, component)).values(), None if method else width)
    scheme = scheme_of(planned.quantization) if planned and planned.quantization.backend in BACKENDS else None
    return Part(component.library, component.class_name, method, sum(sizes), max(sizes, default=0), scheme)


def method_of(config: Mapping[str, Any]) -> str:
    """Return the ``quant_method`` of a config; empty where there is none."""
    found = config.get("quantization_config")
    return str(found.get("quant_method", "unknown")) if isinstance(found, dict) else ""


def loaded_sizes(tensors: Iterable[TensorInfo], width: int | None) -> list[int]:
    """Return the bytes of tensors when they are loaded: as they are stored, or floats with so many bytes each."""
    return [
        prod(slot.shape) * (width if width and slot.dtype in FLOATS else DTYPE_SIZES[slot.dtype]) for slot in tensors
    ]


def read_facts(hub: Hub, repo: str, commit: str) -> Facts | None:
    """Return how a published checkpoint answered when it was judged; None where no report says so."""
    text = hub.content(repo, commit, REPORT, LARGEST)
    try:
        return judged_in(json.loads(text)).candidate if text else None
    except (ValidationError, ValueError, AttributeError):
        return None


def withdrawal(hub: Hub, repo: str, plan: TargetPlan) -> Withdrawal | None:
    """Return why what a plan made was withdrawn, as ``main`` says; None where it was not."""
    head = hub.find(repo, None)
    found = read_withdrawals(hub, repo, head).tags.values() if head else ()
    return next((tag for tag in found if tag.plan == plan.content_digest), None)

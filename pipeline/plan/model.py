"""The plan: the recipe with everything resolved, from tensor headers alone, so that it can be hashed and compared.

A plan holds two things. Its identity is what was asked and of what source: whatever was published under it is not made
again. The rest tells what follows from that here and now: how the installed libraries lay out a component, what a
budget found, which versions and which template took part. An upgrade changes the rest, and republishes nothing.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from math import ceil, prod
from pathlib import Path
from pkgutil import resolve_name
from typing import Any, Final

from pydantic import Field, TypeAdapter, ValidationError

from pipeline.backends import BACKENDS, STREAMING, Scheme
from pipeline.backends import Layout as TensorLayout
from pipeline.backends.artifact import SAFETENSORS, Form
from pipeline.backends.available import require_installed
from pipeline.backends.oracle.conversion import ConversionPlan, ConversionRequest, ask
from pipeline.backends.oracle.single_file import SingleFile, SingleFileRequest, ask_single_file
from pipeline.backends.protocol import Activations, Calibrated
from pipeline.errors import PublishError, RecipeError
from pipeline.files import ListedFile, digest_of
from pipeline.plan.full_precision import require_full_precision
from pipeline.plan.parts import (
    LadderStep,
    PlannedBudget,
    PlannedLadder,
    PlannedLora,
    PlannedSource,
    PlannedValidation,
    Value,
)
from pipeline.plan.questions import request_of
from pipeline.plan.shards import Weights, lay_out, lay_out_as
from pipeline.plan.widths import none_taken, reasons
from pipeline.recipe import Quantization, Recipe
from pipeline.recipe.budget import step
from pipeline.recipe.clause import Dtype
from pipeline.source.classes import FULL_PRECISION, WEIGHTS_NAME
from pipeline.source.layout import INDEX, MODEL, Component, Folder, Place, read_json, read_small
from pipeline.source.safetensors import TensorInfo
from pipeline.source.variants import plain_name
from pipeline.tasks import TASKS

STREAM_MEMORY: Final = 500 << 20  # bytes that a stream takes, whatever the size of model and tensors
LIBRARY_MEMORY: Final = 2 << 30  # bytes that torch and a library take where they pack themselves
COPIES: Final = 4  # of the largest tensor, then: as stored, as cast, as packed, and what the library needs between
EDITION: Final = "+"  # stands between the names of a target and of an artifact of it; neither has it
ENCODER, TOKENIZER = "text_encoder", "tokenizer"  # what components of pipelines are called
PIPELINE_MEMORY: Final = 700 << 20  # bytes that torch and diffusers take before the first weight


Slots = Mapping[str, Mapping[str, TensorInfo]]
"""The tensors of each weight file of a component."""


class PlannedComponent(Value):
    """What is done to one component and what comes of it.

    Attributes:
        library: The package whose ``from_pretrained`` loads it.
        class_name: Its class.
        quantization: Backend, scheme, options, dtype, and the modules that are kept.
        tensors: How many tensors the scheme takes.
        parameters: How many parameters those have.
        parameters_left: How many parameters stay unquantized.
        kept: Linear modules that stay as they are, each with the reason.
        source_bytes: Bytes of its tensors in the source.
        result_bytes: Bytes of its tensors in the result.
        largest_bytes: Bytes of its largest tensor in the source.
        stored: How many of its tensors are stored as what, where one scheme makes several types.
        file: What its file is called, where its form is one file whatever its size.
        estimated: Whether the bytes of the result are reckoned from what the scheme states, since only making it tells.
    """

    library: str
    class_name: str
    quantization: Quantization
    tensors: int
    parameters: int
    parameters_left: int
    kept: dict[str, str]
    source_bytes: int
    result_bytes: int
    largest_bytes: int
    stored: dict[str, int] = Field(default={}, exclude_if=lambda value: not value)
    file: str = Field(default="", exclude_if=lambda value: not value)
    estimated: bool = Field(default=False, exclude_if=lambda value: not value)

    @property
    def activations(self) -> Activations:
        """What becomes of activations: the scheme is weight-only, dynamic or static."""
        return scheme_of(self.quantization).activations


RESOLVED: Final[Any] = {  # fields that are no part of a plan's identity: they follow from it and from what is installed
    "pipeline": True,
    "components": {"__all__": set(PlannedComponent.model_fields) - {"quantization"}},
    "further": True,
    "budget": {"found", "runner_up"},
    "ladder": True,
    "validation": {"dataset": {"rows", "repeated"}},
    "template_digest": True,
    "source_bytes": True,
    "result_bytes": True,
    "versions": True,
}


class TargetPlan(Value):
    """One published repository, fully resolved.

    Attributes:
        target: The target's name in the recipe.
        repository: ``namespace/name`` of what is published.
        files: The source's files that go into it, as their place lists them.
        source_card: What the card repeats of the source's, such as its license; None where an older version did not
            write it down.
        components: What is quantized; of a component with several artifacts, the first.
        further: The other artifacts of components, files that lie beside that one.
        budget: What the recipe asks for instead of naming schemes, and what was found for it.
        ladder: What the recipe has for other cards, where this target is one of several that are each for a card.
        loras: What is fused into the source before that, in this order, and what the validation loads onto the result.
        build: What the recipe counts up where all is to be made again.
        source_bytes: Bytes of those source files.
        result_bytes: Bytes of the weights and small files that are loaded with the first artifacts, cards and pictures
            left out.
        versions: Of the libraries that decide over bytes and verdict.
    """

    target: str
    task: str
    repository: str
    private: bool
    pipeline: str
    source: PlannedSource
    files: dict[str, ListedFile]
    source_card: dict[str, str | list[str]] | None = Field(default=None, exclude_if=lambda value: value is None)
    components: dict[str, PlannedComponent]
    further: dict[str, tuple[PlannedComponent, ...]] = Field(default={}, exclude_if=lambda value: not value)
    budget: PlannedBudget | None = Field(default=None, exclude_if=lambda value: value is None)
    ladder: PlannedLadder | None = Field(default=None, exclude_if=lambda value: value is None)
    loras: tuple[PlannedLora, ...] = Field(default=(), exclude_if=lambda value: not value)
    build: int = Field(default=1, exclude_if=lambda value: value == 1)
    validation: PlannedValidation
    template: str
    template_digest: str
    source_bytes: int
    result_bytes: int
    versions: dict[str, str]

    @property
    def identity(self) -> dict[str, Any]:
        """What was asked, and of what source, as JSON: two plans that are equal in this are published once."""
        asked = self.model_dump(mode="json", exclude=RESOLVED)
        if self.source.repo:
            del asked["files"]  # the commit names them all
            asked.pop("source_card", None)
        if self.budget:
            del asked["components"]  # what was found for it; the budget is what was asked
        else:
            asked["components"] = {name: asked_of(part.quantization) for name, part in self.components.items()}
        if self.further:
            asked["further"] = {
                name: [asked_of(part.quantization) for part in parts] for name, parts in self.further.items()
            }
        asked["validation"]["require"] = required(self.task, self.validation.require)
        return asked

    @property
    def digest(self) -> str:
        """The SHA-256 of the plan's identity."""
        return digest_of(self.identity)

    def asks_the_same(self, published: TargetPlan) -> bool:
        """Return whether what was published is what this plan asks for, as far as older versions wrote that down."""
        known = [key for key in self.identity if key != "source_card" or published.source_card is not None]
        return {key: self.identity[key] for key in known} == published.identity

    @property
    def content_digest(self) -> str:
        """The SHA-256 of everything in the plan, which names one ``publish/plan.json`` in withdrawals."""
        return digest_of(self.model_dump(mode="json"))

    @cached_property
    def build_key(self) -> str:
        """The digest of what the checkpoint's bytes depend on; of several editions, that of the first."""
        if self.further:
            return self.editions[0].build_key
        content = self.model_dump(mode="json", include={"components"})
        versions = {name: found for name, found in self.versions.items() if name != "peft" or self.fused}
        if samples := max(map(samples_of, self.components.values()), default=0):
            content["calibration"] = request_of(self).only(samples, 1).model_dump(mode="json")
        return digest_of(content | {"files": self.source_content, "versions": versions})

    @cached_property
    def verdict_key(self) -> str:
        """The digest of what the report depends on."""
        loaded = [lora.model_dump(mode="json") for lora in self.loaded]
        return digest_of([self.build_key, self.validation.model_dump(mode="json"), *loaded])

    @property
    def named(self) -> dict[str, Quantization]:
        """What the recipe itself says of each component: nothing where it gives a budget."""
        return {} if self.budget else {name: part.quantization for name, part in self.components.items()}

    @property
    def beside(self) -> tuple[tuple[str, PlannedComponent], ...]:
        """The further artifacts, each with its component."""
        return tuple((name, part) for name, parts in self.further.items() for part in parts)

    @property
    def files_beside(self) -> set[str]:
        """The paths of the further artifacts in what is published."""
        return {self.path_of(name, part.file) for name, part in self.beside}

    @property
    def artifacts(self) -> tuple[tuple[str, PlannedComponent], ...]:
        """Everything that is made, each with its component: the first of each, then the further ones."""
        return (*self.components.items(), *self.beside)

    @property
    def entry(self) -> str:
        """The target's name in the recipe, of an edition as well."""
        return self.target.partition(EDITION)[0]

    @cached_property
    def editions(self) -> tuple[TargetPlan, ...]:
        """What can be loaded of it: the first artifacts together, and for each further one the same with that instead.

        Each is planned as a target with one artifact of each component, so that it is made, asked and judged by itself,
        and once, whatever lies beside it.
        """
        if not self.further:
            return (self,)
        first = [(name, part) for name, part in self.components.items() if name in self.further][:1]
        return tuple(self.edition(*pair) for pair in (*first, *self.beside))

    def edition(self, name: str, part: PlannedComponent) -> TargetPlan:
        """Return the plan of the first artifact of each component but one, and a certain artifact of that."""
        first, parts = self.components[name], {**self.components, name: part}
        told = f"{EDITION}{name}-{part.quantization.backend}-{part.quantization.scheme}"
        change = part.result_bytes - first.result_bytes
        deciding = deciding_packages(parts.values(), self.task, adapted=bool(self.loras))
        return self.model_copy(
            update={
                "target": self.target if part is first else f"{self.target}{told}",
                "components": parts,
                "further": {},
                "result_bytes": self.result_bytes + change,
                "versions": {name: found for name, found in self.versions.items() if name in deciding},
            }
        )

    @property
    def step(self) -> LadderStep | None:
        """What its ladder says of itself; None where it is on none."""
        return next((step for step in self.ladder.steps if step.target == self.target), None) if self.ladder else None

    @property
    def instead(self) -> str:
        """Why it is not published, and what its card takes; empty where it is."""
        return self.step.instead if self.step else ""

    @property
    def dtype(self) -> Dtype:
        """The dtype to load the model with: the one that its quantized components were made in."""
        return next(iter(self.components.values())).quantization.dtype

    @property
    def is_pipeline(self) -> bool:
        """Whether the source is a pipeline of components, and not a single model."""
        return "model_index.json" in self.files

    def path_of(self, component: str, file: str) -> str:
        """Return the path in what is published of a file of a component."""
        return f"{component}/{file}" if self.is_pipeline else file

    @property
    def fused(self) -> tuple[PlannedLora, ...]:
        """The LoRAs that are fused into the source."""
        return tuple(lora for lora in self.loras if lora.how == "fused")

    @property
    def loaded(self) -> tuple[PlannedLora, ...]:
        """The LoRAs that the validation loads onto source and result."""
        return tuple(lora for lora in self.loras if lora.how == "loaded")

    @cached_property
    def source_content(self) -> dict[str, Any]:
        """What the bytes depend on that are quantized, and that the result is judged against."""
        files = {name: file.model_dump(mode="json") for name, file in self.files.items()}
        fused = [lora.model_dump(mode="json") for lora in self.fused]
        return {"files": files, "fused": fused} if fused else files

    @property
    def taken_over(self) -> dict[str, ListedFile]:
        """The source's files that the result has as they are, by the name under which they are published."""
        found = {}
        for source, listed in self.files.items():
            name = plain_name(source, self.source.variant)
            folder, _, file = name.rpartition("/")
            component = folder if self.is_pipeline else MODEL * (not folder)
            weights = file.endswith((".safetensors", INDEX))
            part = self.components.get(component)
            form = form_of(part.library, part.quantization) if part else SAFETENSORS
            made = part is not None and (weights or (file == "config.json" and form.config) or file in form.rewrites)
            if not (made or (self.fused and weights) or (name != source and file.endswith(INDEX))):
                found[name] = listed
        return found

    @property
    def memory_bytes(self) -> int:
        """Memory that quantizing takes: pieces of tensors, whole ones where a library packs them, or a component."""
        parts = [part for _, part in self.artifacts]
        whole = max((part.largest_bytes for part in parts if scheme_of(part.quantization).makes_on != "cpu"), default=0)
        built = max((part.source_bytes + part.result_bytes for part in parts if part.estimated), default=0)
        most = max(COPIES * whole, built)
        asked = PIPELINE_MEMORY + self.source_bytes if any(map(samples_of, parts)) else 0
        return max(STREAM_MEMORY + (LIBRARY_MEMORY + most if most else 0), asked)

    @property
    def estimated(self) -> bool:
        """Whether only making the checkpoint tells how large it becomes."""
        return any(part.estimated for part in self.components.values())

    @property
    def validation_memory_bytes(self) -> int:
        """Memory that answering prompts takes: one whole model at a time."""
        return PIPELINE_MEMORY + max(self.source_bytes, *(edition.result_bytes for edition in self.editions))

    @property
    def disk_bytes(self) -> int:
        """Disk that a run takes: source, result, the result again when it is read back, and what LoRAs make of it."""
        return self.source_bytes * (2 if self.fused else 1) + 2 * self.result_bytes + 2 * self.further_bytes

    @property
    def further_bytes(self) -> int:
        """Bytes of the further artifacts."""
        return sum(part.result_bytes for _, part in self.beside)

    @property
    def streamed_disk_bytes(self) -> int:
        """Disk that making the checkpoint takes where its source is streamed, which none is that is fused or asked."""
        whole = self.fused or any(map(watched, self.components.values()))
        return self.disk_bytes if whole else self.result_bytes + self.further_bytes


@dataclass(frozen=True)
class ResolvedComponent:
    """A component to quantize with all that is known of it: headers, the library's answer, the result's layout.

    Where its backend cannot stream it, the layout is an estimate.
    """

    component: Component
    quantization: Quantization
    slots: Slots
    answer: ConversionPlan
    weights: Weights
    file: SingleFile | None = None

    @property
    def tensors(self) -> dict[str, TensorInfo]:
        """All tensors of the source by name."""
        return flat(self.slots)

    @property
    def streamed(self) -> bool:
        """Whether it is made in pieces; else its library makes it whole."""
        return self.quantization.backend in STREAMING

    @property
    def form(self) -> Form:
        """In what files it will lie."""
        return form_of(self.component.library, self.quantization)

    @property
    def files(self) -> set[str]:
        """The paths of the files that it becomes."""
        part, folder = self.component, self.component.folder
        if not self.streamed and not self.form.config:
            return {*part.small}  # what its weights are called is known once they are made
        weights = {f"{folder}{shard.name}" for shard in self.weights.shards}
        index = {f"{folder}{WEIGHTS_NAME[part.library]}{INDEX}"} if len(weights) > 1 else set()
        return {*part.small, *weights, *index}

    def planned(self) -> PlannedComponent:
        """Return the component as the plan shows it."""
        tensors = self.tensors
        sizes = {name: slot.end - slot.begin for name, slot in tensors.items()}
        taken = [name for name, conversion in self.answer.conversions.items() if conversion.quantized]
        left = [name for name in self.answer.conversions if name not in taken]
        single = self.weights.shards[0] if self.form.single else None
        return PlannedComponent(
            library=self.component.library,
            class_name=self.component.class_name,
            quantization=self.quantization,
            tensors=len(taken),
            parameters=sum(prod(tensors[name].shape) for name in taken),
            parameters_left=sum(prod(tensors[name].shape) for name in left),
            kept=reasons(self.quantization, self.answer, tensors),
            source_bytes=sum(sizes.values()),
            result_bytes=self.weights.size,
            largest_bytes=max(sizes.values()),
            stored=Counter(kind for kind, _ in single.tensors.values()) if single else {},
            file=single.name if single else "",
            estimated=not self.streamed,
        )


def flat(slots: Slots) -> dict[str, TensorInfo]:
    """Return the tensors of all weight files by name."""
    return {name: slot for part in slots.values() for name, slot in part.items()}


def question_of(place: Place, component: Component, quantization: Quantization, slots: Slots) -> ConversionRequest:
    """Return what is asked of the library about a component.

    Raises:
        RecipeError: The component cannot be quantized.
        CannotHereError: The library is not installed.
        SourceError: Its config is not readable, or it is quantized already.
    """
    refuse_unfit(component, quantization, f"{place.where}, {component.name}")
    backend = BACKENDS[quantization.backend]
    require_installed(backend, quantization.scheme)
    config = read_json(place, component.config)
    require_full_precision(place, component, config, slots)
    return ConversionRequest(
        library=component.library,  # type: ignore[arg-type]
        class_name=component.class_name,
        config=config,
        tensors={name: slot.header for name, slot in flat(slots).items()},
        dtype=quantization.dtype,
        quantization=backend.configuration(quantization.scheme, quantization.options),
        backend=quantization.backend,
        keep=quantization.keep,
    )


@dataclass(frozen=True)
class SourceModel:
    """A model that components are made of.

    Attributes:
        place: Where it lies.
        name: What it is called; single files are named after it.
    """

    place: Place
    name: str


def resolve(
    question: ConversionRequest,
    component: Component,
    quantization: Quantization,
    slots: Slots,
    answers: Path,
    source: SourceModel,
) -> ResolvedComponent:
    """Ask a library about a component, and lay out what it becomes.

    Args:
        question: What is asked.
        component: The component.
        quantization: What is done to it.
        slots: Its tensors.
        answers: The folder that keeps answers.
        source: The model that it is part of.

    Raises:
        PublishError: What `ask`, `ask_single_file` and `lay_out_result` raise.
    """
    where = f"{source.place.where}, {component.name}"
    answer, file = ask(question, answers, where), None
    if quantization.options.get("names") == "family":
        shapes = shapes_of(answer, slots)
        named = SingleFileRequest(class_name=component.class_name, config=question.config, shapes=shapes)
        file = ask_single_file(named, answers, where)
    elif lays := BACKENDS[quantization.backend].LOADERS[component.library].lays:
        file = laid_out(lays, question, component, shapes_of(answer, slots), source.place)
    return lay_out_result(component, quantization, slots, answer, source.name, file)


def shapes_of(answer: ConversionPlan, slots: Slots) -> dict[str, tuple[int, ...]]:
    """Return the shape of each tensor that is written, by its name in the result."""
    tensors = flat(slots)
    return {conversion.name_of(name): tensors[name].shape for name, conversion in answer.conversions.items()}


def laid_out(
    lays: str, question: ConversionRequest, component: Component, shapes: dict[str, tuple[int, ...]], place: Place
) -> SingleFile:
    """Return how a component lies in a file that holds its tokenizer as well, as a backend's loader lays it out.

    Raises:
        PublishError: The file cannot hold the component or its tokenizer.
    """
    folder = "" if component.root else f"{component.name.replace(ENCODER, TOKENIZER)}/"

    def read(name: str) -> bytes | None:
        return read_small(place, folder + name) if folder + name in place.files else None

    try:
        file: SingleFile = resolve_name(lays)(component.class_name, question.config, shapes, read)
    except PublishError as error:
        error.where = error.where or f"{place.where}, {component.name}"
        raise
    return file


def name_of(place: Place) -> str:
    """Return what a source is called: the last part of the repository's name or of the folder's path."""
    return place.path.resolve().name if isinstance(place, Folder) else place.where.partition("@")[0].rpartition("/")[2]


def lay_out_result(
    component: Component,
    quantization: Quantization,
    slots: Slots,
    answer: ConversionPlan,
    model: str = MODEL,
    file: SingleFile | None = None,
) -> ResolvedComponent:
    """Lay out what a component becomes.

    Args:
        component: The component.
        quantization: What is done to it.
        slots: Its tensors.
        answer: What the library makes of it.
        model: The model's name, after which a single file is called.
        file: Which tensors of that file those of diffusers are, where it has the family's names.

    Raises:
        RecipeError: The scheme takes no weight of it.
    """
    tensors = flat(slots)
    if not any(conversion.quantized for conversion in answer.conversions.values()):
        raise none_taken(component, quantization, answer, tensors)
    layouts, sizes = {}, {}
    for name, conversion in answer.conversions.items():
        if conversion.quantized:
            shape, written = conversion.shape_of(tensors[name].shape), conversion.name_of(name)
            layouts[name], sizes[written] = stored_as(quantization, written, shape, conversion.dtype), prod(shape)
    single = single_file(component, quantization, model, sizes)
    if file is None:
        weights = lay_out(answer, tensors, layouts, component.library, single=single)
    else:
        weights = lay_out_as(file, answer, tensors, partial(stored_as, quantization), single)
    return ResolvedComponent(component, quantization, slots, answer, weights, file)


def single_file(component: Component, quantization: Quantization, model: str, sizes: Mapping[str, int]) -> str:
    """Return what the one file of a component is called, where its form is one, as those who choose one expect it.

    The component's name is part of it, because some pipelines have two, and their users put both into one folder.

    Args:
        component: The component.
        quantization: What is done to it.
        model: The source's name.
        sizes: How many values each of its quantized weights has.
    """
    form = form_of(component.library, quantization)
    if not form.single:
        return ""
    scheme = quantization.scheme
    if form.label:
        scheme = resolve_name(form.label)(scheme, quantization.options, sizes)
    suffix = BACKENDS[quantization.backend].SCHEMES[scheme].suffix
    called = re.sub(r"[^A-Za-z0-9._-]+", "-", model).strip("-") or MODEL
    parts = (called, *(() if component.root else (component.name,)), suffix)
    return f"{form.joint.join(parts)}.{form.format}"


def stored_as(quantization: Quantization, name: str, shape: tuple[int, ...], dtype: str) -> TensorLayout:
    """Return the tensors of a quantized weight; one of about as many bytes where the backend does not say."""
    if backend := STREAMING.get(quantization.backend):
        return backend.layout(quantization.scheme, quantization.options, name, shape, dtype)
    return {name: ("U8", (ceil(prod(shape) * scheme_of(quantization).bits / 8),))}


def unfit(library: str, quantization: Quantization) -> str:
    """Return why a backend cannot be used for components of a library; empty where it can."""
    backend, scheme = BACKENDS[quantization.backend], scheme_of(quantization)
    missing = "" if library in backend.LOADERS else f"{library} does not load what {quantization.backend} made"
    return scheme.refuses.get(library, missing)


def refuse_unfit(component: Component, quantization: Quantization, where: str) -> None:
    """Refuse a component that this scheme cannot make.

    Raises:
        RecipeError: It has no weights, is of another library, or could not be saved.
    """
    if not component.weights or component.library not in {"diffusers", "transformers"}:
        reason = f"{component.name} is a {component.library}.{component.class_name} and cannot be quantized."
        if component.blocks:
            kind = {"gguf": "GGUF", "comfy": "ComfyUI's"}[component.packed_as]
            reason = f"{component.name} is {kind}, which somebody quantized before ({component.blocks[0]})."
        rest = [] if component.root else ["Leave this component out."]
        rest += [FULL_PRECISION] if component.blocks else []
        remedy = " ".join(rest or ["Name another source."])
        raise RecipeError(reason, where=where, remedy=remedy)
    loader = BACKENDS[quantization.backend].LOADERS.get(component.library)
    graph = loader is not None and bool(loader.opens) and not component.root
    reason = "a pipeline loads no graphs" if graph else unfit(component.library, quantization)
    if reason:
        remedy = "Choose another backend for this component."
        raise RecipeError(f"{quantization.backend} cannot be used here: {reason}.", where=where, remedy=remedy)


def asked_of(quantization: Quantization) -> dict[str, Any]:
    """Return what is asked for a component; options that an older version did not know have their defaults."""
    backend = BACKENDS.get(quantization.backend)
    scheme = backend.SCHEMES.get(quantization.scheme) if backend else None
    usual = scheme.options().model_dump(mode="json") if scheme else {}
    return quantization.model_dump(mode="json") | {"options": usual | quantization.options}


def required(task: str, require: Mapping[str, Any]) -> dict[str, Any]:
    """Return what is required beyond today's defaults, without the commits of judges, which a plan pins apart."""
    try:
        clause: Any = TASKS[task].validation.model_fields["require"].annotation
        written = TypeAdapter(clause).validate_python(require).model_dump(mode="json", exclude_defaults=True)
    except (KeyError, ValidationError):  # a task or a requirement of another version
        written = dict(require)
    return {name: {key: found for key, found in each.items() if key != "revision"} for name, each in written.items()}


def read_plan(text: bytes | None) -> TargetPlan | None:
    """Return a published plan, or None where there is none that this version reads."""
    try:
        return TargetPlan.model_validate_json(text) if text else None
    except ValidationError:
        return None


def scheme_of(quantization: Quantization) -> Scheme:
    """Return what a backend says of the scheme that is asked of it."""
    return BACKENDS[quantization.backend].SCHEMES[quantization.scheme]


def samples_of(part: PlannedComponent | ResolvedComponent) -> int:
    """Return on how many questions it depends what is made of a component."""
    options = scheme_of(part.quantization).options
    return options.model_validate(part.quantization.options).samples if issubclass(options, Calibrated) else 0


def watched(part: PlannedComponent | ResolvedComponent) -> bool:
    """Return whether a component is made in pieces, by what its layers are given while the source answers."""
    return part.quantization.backend in STREAMING and samples_of(part) > 0


def form_of(library: str, quantization: Quantization) -> Form:
    """Return in what files a backend's components of a library lie."""
    backend = BACKENDS.get(quantization.backend)
    return backend.LOADERS[library].form if backend and library in backend.LOADERS else SAFETENSORS


def chosen(recipe: Recipe, names: Sequence[str]) -> list[str]:
    """Return the names of the targets that were asked for, all of them by default.

    Raises:
        RecipeError: The recipe has no such target.
    """
    for name in names:
        if name not in recipe.targets:
            steps = [each for each, budget in recipe.for_cards.items() if each == step(budget.card or "")]
            rest = f"; a ladder is one target a card: {', '.join(steps)}" if steps else ""
            remedy = f"It has {', '.join(recipe.targets)}{rest}."
            raise RecipeError(f"The recipe has no target {name!r}.", remedy=remedy)
    return [name for name in recipe.targets if not names or name in names]


def deciding_packages(parts: Iterable[PlannedComponent], task: str, *, adapted: bool) -> tuple[str, ...]:
    """Return what decides over bytes and verdict: the libraries of the backends of some components, no others.

    Args:
        parts: The components.
        task: The task, whose measuring libraries count.
        adapted: Whether there are LoRAs.
    """
    libraries = sorted({BACKENDS[part.quantization.backend].DISTRIBUTION for part in parts}) + ["peft"] * adapted
    return ("quantpress", "torch", "diffusers", "transformers", *libraries, *TASKS[task].medium.packages)

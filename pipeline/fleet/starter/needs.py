"""Needs: what somebody has, in words such as ``8gb-gpu``, and the known good schemes that serve it.

What is for no card is what `pipeline.fleet.advice` says first of it.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from math import prod
from typing import Any, Final

from pipeline.backends.gguf.llama_cpp import ARCHITECTURES
from pipeline.errors import RecipeError, SourceError
from pipeline.files import human_size
from pipeline.fleet.advice import rows_for
from pipeline.plan.footprint import Footprint, footprint
from pipeline.plan.parts import CardMemory, Offload
from pipeline.quantize.folder import AUTOENCODERS
from pipeline.recipe.names import COMPONENT
from pipeline.recipe.problems import listed, unknown
from pipeline.source.layout import MODEL, Layout, Place, read_slots
from pipeline.source.safetensors import FLOATS, TensorInfo

CARDS: Final[Mapping[str, int]] = {"8gb-gpu": 8, "12gb-gpu": 12, "16gb-gpu": 16, "24gb-gpu": 24}
NEEDS: Final = (*CARDS, "cpu", "memory", "embedded", "web", "one-file", "comfyui", "server")
LIBRARIES: Final = ("diffusers", "transformers")
LEAST: Final = 0.1  # share of a component's parameters, and of the source's, that Linear layers must have
DTYPES: Final = {"F32": "float32", "F16": "float16"}  # else bfloat16, which recipes need not say


@dataclass(frozen=True)
class KnownScheme:
    """A scheme that is known to be good for any model.

    Attributes:
        target: How its target is called.
        words: What a recipe says of each component.
        width: Bytes of a parameter, scales included.
        text: What it is good for.
        dtype: What everything else is kept in; empty for what the source is kept in.
        tables: Whether tables of tokens are quantized as well.
        library: The library whose components it is for; empty where it is for any.
        classes: The classes of transformers that it is for; empty where it is for any.
    """

    target: str
    words: str
    width: float
    text: str
    dtype: str = ""
    tables: bool = False
    library: str = ""
    classes: tuple[str, ...] = ()


INT8: Final = KnownScheme(
    "torchao-int8", "backend: torchao, scheme: int8-weight-only", 1.01, "8 bits by torchao, on any device"
)
NF4: Final = KnownScheme(
    "bnb-nf4", "backend: bitsandbytes, scheme: nf4, double_quant: true", 0.52, "4 bits by bitsandbytes"
)
INT8_IN_FLOAT32: Final = replace(INT8, dtype="float32")  # few processors are fast in bfloat16
Q8: Final = KnownScheme(
    "onnx-q8",
    "backend: onnx, scheme: q8",
    1.16,
    "8 bits as a graph, which onnxruntime and transformers.js run",
    dtype="float32",
    tables=True,
)
GGUF: Final = KnownScheme(
    "gguf-q8_0", "backend: gguf, scheme: q8_0", 1.07, "8 bits in one GGUF file", classes=(*ARCHITECTURES,)
)
COMFY: Final = KnownScheme(
    "comfy-int8-convrot",
    "backend: comfy, scheme: int8-convrot",
    1.01,
    "8 bits in one file, as ComfyUI multiplies them",
    library="diffusers",
)
SERVER: Final = KnownScheme(
    "ct-fp8",
    "backend: compressed-tensors, scheme: fp8-dynamic",
    1.01,
    "8-bit floats, as vLLM and sglang read them",
    library="transformers",
)
KNOWN: Final = (INT8, NF4)  # the better one first
ADVISED: Final = {
    ("torchao", "int8-weight-only"): INT8,
    ("bitsandbytes", "nf4"): NF4,
    ("onnx", "q8"): Q8,
    ("gguf", "q8_0"): GGUF,
    ("comfy", "int8-convrot"): COMFY,
    ("compressed-tensors", "fp8-dynamic"): SERVER,
}


@dataclass(frozen=True)
class Weighed:
    """A component as its headers weigh it.

    Attributes:
        linear: Parameters in what looks like a Linear layer; 0 where it stays as it is.
        rest: Bytes of everything else as loaded.
        width: Bytes of a parameter as loaded.
        library: The package of its class.
        class_name: Its class.
    """

    linear: int
    rest: int
    width: int
    library: str
    class_name: str = ""

    def size(self, scheme: KnownScheme | None) -> int:
        """Return its bytes as loaded, with a scheme or without."""
        if scheme is None or not self.taken(scheme):
            return self.rest + int(self.linear * self.width)
        kept = scheme.width if scheme.tables else 4 if scheme.dtype == "float32" else self.width
        return int(self.rest * kept / self.width + self.linear * scheme.width)

    def taken(self, scheme: KnownScheme) -> bool:
        """Return whether a scheme quantizes it."""
        known = not scheme.classes or self.library != "transformers" or self.class_name in scheme.classes
        return self.linear > 0 and known and scheme.library in {"", self.library}


@dataclass(frozen=True)
class Weights:
    """All components of a source.

    Attributes:
        parts: By name.
        parameters: How many there are.
        beside: What answering takes beside them, reckoned.
        dtype: What its single model is kept in, as a recipe says it; empty where that need not be said.
    """

    parts: Mapping[str, Weighed]
    parameters: int
    beside: Footprint
    dtype: str = ""

    @property
    def single(self) -> bool:
        """Whether they are those of a single model, and not of a pipeline."""
        return [*self.parts] == [MODEL]

    def quantized(self, scheme: KnownScheme) -> list[str]:
        """Return the components that a scheme quantizes."""
        return [name for name, part in self.parts.items() if part.taken(scheme)]

    def size(self, scheme: KnownScheme | None) -> int:
        """Return the bytes of everything as loaded."""
        return sum(part.size(scheme) for part in self.parts.values())

    def memory(self, scheme: KnownScheme) -> dict[Offload, CardMemory]:
        """Return the bytes of a card that it takes by the ways to run it."""
        return self.beside.memory({name: part.size(scheme) for name, part in self.parts.items()})


@dataclass(frozen=True)
class Served:
    """How one need is served: by which scheme, and whether the components have to be loaded one after another."""

    need: str
    scheme: KnownScheme
    offloaded: bool


def needs_of(words: str) -> tuple[str, ...]:
    """Return the needs that a command line names, ``8gb-gpu,cpu``.

    Raises:
        RecipeError: One is none that is known.
    """
    named = tuple(dict.fromkeys(word.strip().lower() for word in words.split(",") if word.strip()))
    for word in named:
        if word not in NEEDS:
            what, meant = unknown("need", word, NEEDS)
            remedy = f"Did you mean {meant}? The words are {listed(NEEDS, 'and')}." if meant else ""
            raise RecipeError(f"--for has an {what}.", remedy=remedy)
    if not named:
        raise RecipeError("--for names no need.", remedy=f"The words are {listed(NEEDS, 'and')}.")
    return named


def serve(weights: Weights, needs: Collection[str], where: str) -> list[Served]:
    """Return how needs are served; without any, the smallest card that is enough, and the CPU.

    Raises:
        RecipeError: A card is too small, or a pipeline is wanted for the web.
    """
    if "web" in needs and not weights.single:
        remedy = "Leave web out; of a single model of transformers it is a graph that a page loads."
        raise RecipeError("No component of a pipeline is exported for the web.", where=where, remedy=remedy)
    known = [found for need in needs or CARDS if (found := served_by(weights, need))]
    for each in known:
        if not weights.quantized(each.scheme):
            what = f"{each.need} is served by {each.scheme.words}, which takes none of its components."
            raise RecipeError(what, where=where, remedy=f"Leave {each.need} out.")
    served = known if needs else [*known[:1], Served("cpu", INT8, offloaded=False)]
    if lacking := [need for need in needs if need not in {each.need for each in served}]:
        enough = [need for need in (*CARDS, "cpu") if served_by(weights, need)]
        least = human_size(weights.memory(NF4)["model"].total)
        what = f"{lacking[0]} is too small: in 4 bits, with one component there at a time, it takes {least}."
        raise RecipeError(what, where=where, remedy=f"Give --for {','.join(enough)}, or fewer of them.")
    smaller = weights.size(INT8_IN_FLOAT32) < weights.size(None)  # which a vocabulary in float32 may prevent
    if weights.single and smaller and not any(each.scheme is INT8 and each.need in CARDS for each in served):
        return [replace(each, scheme=INT8_IN_FLOAT32) if each.scheme is INT8 else each for each in served]
    return served


def served_by(weights: Weights, need: str) -> Served | None:
    """Return the best that is known for a need: all at once in memory if that fits, else component by component."""
    if need not in CARDS:
        return Served(need, INT8 if need == "cpu" else advised(need), offloaded=False)
    for offload in ("none", "model"):
        for scheme in KNOWN:
            if weights.memory(scheme)[offload].total <= CARDS[need] * 10**9:
                return Served(need, scheme, offloaded=offload == "model")
    return None


def advised(need: str) -> KnownScheme:
    """Return the first scheme that is advised for a need."""
    (row,) = rows_for(need)
    return ADVISED[row.choose[0]]


def weigh(place: Place, layout: Layout, call: Mapping[str, Any], task: str) -> Weights:
    """Weigh the components of a source by the headers of their files.

    Args:
        place: Where it lies.
        layout: Its components.
        call: The settings with which a pipeline is called.
        task: What it is for.

    Raises:
        SourceError: A header lies, or there is nothing to quantize.
    """
    weighty = {name: part for name, part in layout.components.items() if part.weights}
    read = {name: read_slots(place, part) for name, part in weighty.items()}
    slots = {name: [slot for file in files.values() for slot in file.items()] for name, files in read.items()}
    single = len(layout.components) == 1
    kept = {slot.dtype for part in slots.values() for _, slot in part if slot.dtype in FLOATS}
    dtype = DTYPES.get(kept.pop(), "") if single and len(kept) == 1 else ""
    width = 4 if dtype == "float32" else 2
    total = sum(prod(slot.shape) for part in slots.values() for _, slot in part)
    parts = {}
    for name, tensors in slots.items():
        own, linear = (sum(prod(slot.shape) for _, slot in some) for some in (tensors, filter(is_linear, tensors)))
        fit = quantizable(layout, name) and linear >= LEAST * max(own, total)
        library, class_name = layout.components[name].library, layout.components[name].class_name
        parts[name] = Weighed(linear if fit else 0, (own - linear * fit) * width, width, library, class_name)
    if not any(part.linear for part in parts.values()):
        remedy = "`publish quantize --component NAME` quantizes any component that you name."
        raise SourceError("None of its components is mostly Linear layers.", where=place.where, remedy=remedy)
    return Weights(parts, total, footprint(place, weighty, read, call, task), dtype)


def quantizable(layout: Layout, name: str) -> bool:
    """Return whether a component is one that people quantize: a single model, a denoiser or a text encoder."""
    part = layout.components[name]
    if (
        part.library not in LIBRARIES
        or not re.fullmatch(COMPONENT, name)
        or any(word in part.class_name for word in AUTOENCODERS)
    ):
        return False
    return len(layout.components) == 1 or part.library == "diffusers" or name.startswith("text_encoder")


def is_linear(tensor: tuple[str, TensorInfo]) -> bool:
    """Tell the weight of a Linear layer from others, as far as name and shape show it."""
    name, slot = tensor
    is_table = any(
        word in name
        for word in ("embeddings.", "embed_tokens", "embed_positions", "shared.", "wte.", "wpe.", "relative_")
    )
    return name.endswith(".weight") and len(slot.shape) == 2 and slot.dtype in FLOATS and not is_table


def grouped(served: Iterable[Served]) -> dict[KnownScheme, list[Served]]:
    """Return needs by the scheme that serves them, for they share its target."""
    found: dict[KnownScheme, list[Served]] = {}
    for each in served:
        found.setdefault(each.scheme, []).append(each)
    return found

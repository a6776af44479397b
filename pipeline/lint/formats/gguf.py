"""GGUF: each tensor of one of ggml's types, whose blocks carry their scales among their codes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from pipeline.kernels.ggml import TYPES
from pipeline.lint.faults import Fault, told
from pipeline.lint.formats.ggml import DECODE
from pipeline.lint.formats.protocol import FLOORS, Part, Reading, Weight
from pipeline.lint.subject import Subject

TITLE: Final = "GGUF"
THEIRS: Final = ("blk.", "token_embd.", "enc.blk.")  # names that llama.cpp gives, to models that read and write texts
PLAIN: Final = frozenset({"F32", "F16", "BF16", "F64", "I8", "I16", "I32", "I64"})
DIFFUSERS: Final = frozenset(
    {"Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K", "IQ4_NL", "IQ4_XS"}
)
BITS: Final = {"1": 1, "2": 2, "3": 3, "4": 4, "5": 5, "6": 6, "8": 8}
AXES: Final = 4  # that ggml reads
LONGEST: Final = 63  # bytes of a name that llama.cpp reads
CURRENT: Final = 2  # general.quantization_version of all that is written since 2023


def claims(subject: Subject) -> bool:
    """Return whether a model is of GGUF."""
    return subject.container == "gguf"


def read(subject: Subject) -> Reading:
    """Return its quantized weights."""
    faults = list[Fault]()
    architecture = subject.metadata.get("general.architecture")
    if not isinstance(architecture, str) or not architecture:
        text = "The header has no `general.architecture`, by which llama.cpp knows a model; others go by names."
        remedy = "Write it, such as flux, wan or llama."
        faults.append(subject.fault("marker-missing", "", text, remedy, "warning"))
    weights = [
        Weight(
            name,
            f"{tensor.dtype} ({TITLE})",
            tensor.shape,
            name,
            {"codes": Part(name, (tensor.dtype,))},
            DECODE.get(tensor.dtype),
            TYPES[tensor.dtype].block,
            floor=FLOORS[BITS.get(next(sign for sign in tensor.dtype if sign.isdigit()), 4)],
        )
        for name, tensor in subject.tensors.items()
        if tensor.dtype not in PLAIN
    ]
    for name, tensor in subject.tensors.items():
        if len(tensor.shape) > AXES:
            text = (
                f"It has {len(tensor.shape)} axes: diffusers and ComfyUI-GGUF read it, and llama.cpp refuses the file."
            )
            faults.append(subject.fault("weight-wrong", name, text, level="warning"))
    said = subject.metadata.get("general.quantization_version")
    if weights and said is not None and said != CURRENT:
        text = f"The header says `general.quantization_version` {told(str(said))}, and loaders read {CURRENT}."
        faults.append(subject.fault("marker-unknown", "", text))
    title = f"{TITLE}, {architecture}" if architecture else TITLE
    return Reading(title, weights, faults, loaders="; ".join(loaders_of(subject, architecture)))


def loaders_of(subject: Subject, architecture: Any) -> Iterator[str]:
    """Yield who reads a file."""
    yield "ComfyUI-GGUF"
    if any(name.startswith(THEIRS) for name in subject.tensors):
        sizes = ((len(name.encode()), len(tensor.shape)) for name, tensor in subject.tensors.items())
        if architecture and not subject.faults and all(long <= LONGEST and axes <= AXES for long, axes in sizes):
            yield "llama.cpp, where it knows the architecture"
        yield "transformers by gguf_file, where it does"
        return
    kinds = {tensor.dtype for tensor in subject.tensors.values()} - PLAIN - DIFFUSERS
    yield f"diffusers has no {', '.join(sorted(kinds))}" if kinds else "diffusers by GGUFQuantizationConfig"

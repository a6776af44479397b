"""A component made both ways: as the answer says, tensor by tensor, and by the library on the whole model."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.backends import BACKENDS
from pipeline.backends.artifact import BuildRequest
from pipeline.backends.build_worker import make
from pipeline.backends.oracle.conversion import Conversion, ConversionPlan, ConversionRequest
from pipeline.source.safetensors import read_header

SCHEMES = {
    "nf4": ("bitsandbytes", "nf4"),
    "int8": ("bitsandbytes", "int8"),
    "torchao": ("torchao", "int8-weight-only"),
    "quanto": ("quanto", "int8"),
}
STORED = {
    "bfloat16": "BF16", "float16": "F16", "float32": "F32", "float64": "F64", "int64": "I64", "int32": "I32",
    "int16": "I16", "int8": "I8", "uint8": "U8", "bool": "BOOL", "float8_e4m3fn": "F8_E4M3", "complex64": "C64",
}  # fmt: skip


@dataclass(frozen=True)
class Family:
    """A saved model of one class."""

    library: str
    name: str
    folder: Path

    @property
    def weights(self) -> Path:
        """Its only weight file."""
        (found,) = self.folder.glob("*.safetensors")
        return found


@dataclass(frozen=True)
class Case:
    """A model and what is done to it."""

    family: Family
    scheme: str
    dtype: str = "bfloat16"
    keep: tuple[str, ...] = ()

    def __str__(self) -> str:
        """Name the case in a test's id."""
        return "-".join((self.family.name, self.scheme, self.dtype, *self.keep))

    @property
    def backend(self) -> Any:
        """The module of its backend."""
        return BACKENDS[SCHEMES[self.scheme][0]]

    @property
    def options(self) -> dict[str, Any]:
        """The scheme's options, all at their defaults."""
        return dict(self.backend.SCHEMES[SCHEMES[self.scheme][1]].options().model_dump(mode="json"))

    @property
    def configuration(self) -> dict[str, Any]:
        """What a user would pass as ``quantization_config``."""
        return dict(self.backend.configuration(SCHEMES[self.scheme][1], self.options))

    def question(self) -> ConversionRequest:
        """Return what is asked of the library."""
        return ConversionRequest(
            library=self.family.library,  # type: ignore[arg-type]
            class_name=self.family.name,
            config=json.loads((self.family.folder / "config.json").read_text()),
            tensors={name: slot.header for name, slot in read_header(self.family.weights).items()},
            dtype=self.dtype,
            quantization=self.configuration,
            backend=SCHEMES[self.scheme][0],
            keep=self.keep,
        )


Tensors = dict[str, tuple[str, tuple[int, ...], bytes]]
"""Safetensors dtype, shape and content by name."""


@dataclass
class Written:
    """What a component was made into."""

    tensors: Tensors
    metadata: dict[str, Any]
    config: dict[str, Any]


def as_answered(case: Case, answer: ConversionPlan) -> Written:
    """Return what the answer leads to."""
    from safetensors.torch import load_file

    source = load_file(case.family.weights)
    tensors: Tensors = {}
    described: dict[str, str] = {}
    for name, conversion in answer.conversions.items():
        tensors |= made_of(case, name, conversion, source[name], described)
    metadata = case.backend.metadata(SCHEMES[case.scheme][1], "", list(answer.parameters), described)
    return Written(tensors, canonical(metadata), json.loads(answer.config))


def made_of(case: Case, name: str, conversion: Conversion, tensor: Any, described: dict[str, str]) -> Tensors:
    """Return what becomes of one tensor, and hold the backend's layout against what it packs."""
    import torch

    tensor = tensor.to(getattr(torch, conversion.dtype))
    written, scheme = conversion.name_of(name), SCHEMES[case.scheme][1]
    if not conversion.quantized:
        return {written: facts(tensor)}
    tensor = tensor.T if conversion.transposed else tensor
    packed = case.backend.pack(scheme, case.options, written, tensor)
    if packed.metadata is not None:
        described[conversion.parameter] = packed.metadata
    made = {key: facts(value) for key, value in packed.tensors.items()}
    laid = case.backend.layout(scheme, case.options, written, tuple(tensor.shape), conversion.dtype)
    planned = {key: (dtype, shape or made[key][1]) for key, (dtype, shape) in laid.items()}
    assert planned == {key: fact[:2] for key, fact in made.items()}
    return made


def canonical(metadata: Mapping[str, str]) -> dict[str, Any]:
    """Return a header's metadata without the one thing that torchao writes in a random order."""
    read = {name: json.loads(text) if text[:1] in "[{" else text for name, text in metadata.items()}
    for entry in read.values():
        if isinstance(entry, dict) and "_tensor_data_names" in entry:
            entry["_tensor_data_names"].sort()
    return read


def facts(tensor: Any) -> tuple[str, tuple[int, ...], bytes]:
    """Return dtype, shape and content of a tensor."""
    import torch

    content = tensor.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes() if tensor.numel() else b""
    return STORED[str(tensor.dtype).removeprefix("torch.")], tuple(tensor.shape), content


def by_library(case: Case, answer: ConversionPlan | None, out: Path) -> Written:
    """Return what the library itself writes.

    Raises:
        Exception: Whatever the library raises on its own path.
    """
    from safetensors import safe_open

    settings = case.configuration
    if case.keep and answer:
        settings[case.backend.SKIP["key"]] = asked_to_skip(case, answer)
    make(
        BuildRequest(
            backend=SCHEMES[case.scheme][0],
            library=case.family.library,  # type: ignore[arg-type]
            class_name=case.family.name,
            source=case.family.folder,
            out=out,
            dtype=case.dtype,
            quantization=settings,
        )
    )
    (weights,) = out.glob("*.safetensors")
    with safe_open(weights, "pt") as file:
        tensors = {name: facts(file.get_tensor(name)) for name in file.keys()}  # noqa: SIM118
        metadata = canonical(file.metadata() or {})
    return Written(tensors, metadata, json.loads((out / "config.json").read_text()))


def asked_to_skip(case: Case, answer: ConversionPlan) -> list[str]:
    """Return the modules to skip as a user would list them: diffusers adds what it keeps in float32 to their list."""
    written: list[str] = json.loads(answer.config)["quantization_config"][case.backend.SKIP["key"]]
    cls = getattr(__import__(case.family.library), case.family.name)
    added = (cls._keep_in_fp32_modules or []) if case.family.library == "diffusers" else []
    return written[: len(written) - len(added)]


def differences(ours: Written, theirs: Written) -> list[str]:
    """Return what two results differ in, the first few of each kind; the path that was loaded from is left out."""
    return [
        *of_tensors(ours.tensors, theirs.tensors),
        *of_keys("metadata", ours.metadata, theirs.metadata),
        *of_keys("config", ours.config, {key: value for key, value in theirs.config.items() if key != "_name_or_path"}),
    ]


def of_tensors(ours: Tensors, theirs: Tensors) -> list[str]:
    """Return what two sets of tensors differ in."""
    found = [f"only ours: {name}" for name in sorted(ours.keys() - theirs.keys())[:3]]
    found += [f"only theirs: {name}" for name in sorted(theirs.keys() - ours.keys())[:3]]
    both = sorted(ours.keys() & theirs.keys())
    unlike = [name for name in both if ours[name][:2] != theirs[name][:2]]
    found += [f"{name}: {ours[name][:2]} is {theirs[name][:2]} there" for name in unlike[:3]]
    content = [name for name in both if name not in unlike and ours[name][2] != theirs[name][2]]
    return found + [f"{name}: other content" for name in content[:3]]


def of_keys(where: str, ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> list[str]:
    """Return the keys in which two mappings differ."""
    missing = object()
    return [
        f"{where}.{key}: {ours.get(key, '-')!r} is {theirs.get(key, '-')!r} there"
        for key in sorted(ours.keys() | theirs.keys())
        if ours.get(key, missing) != theirs.get(key, missing)
    ][:3]

"""Small components of real classes, quantized both ways: streamed by us, and by the library on the whole model."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from pipeline.backends import BACKENDS, STREAMING, build_worker
from pipeline.backends.artifact import BuildRequest, Form
from pipeline.backends.bfl import worker as bfl_worker
from pipeline.backends.comfy import worker as comfy_worker
from pipeline.backends.compressed_tensors import worker as compressed_worker
from pipeline.backends.gguf import worker as gguf_worker
from pipeline.backends.oracle.conversion import ConversionRequest, ask
from pipeline.backends.oracle.single_file import SingleFileRequest, ask_single_file
from pipeline.backends.protocol import Calibrated
from pipeline.files import ListedFile
from pipeline.plan.shards import lay_out, lay_out_as
from pipeline.quantize.build import Packer
from pipeline.quantize.component_writer import Job
from pipeline.quantize.spans import local_file
from pipeline.quantize.stream import stream
from pipeline.source.safetensors import read_header

CLASSES = {
    "transformer": ("diffusers", "FluxTransformer2DModel"),
    "unet": ("diffusers", "UNet2DConditionModel"),
    "flux-2": ("diffusers", "Flux2Transformer2DModel"),
    "z-image": ("diffusers", "ZImageTransformer2DModel"),
    "t5": ("transformers", "T5EncoderModel"),
    "clip": ("transformers", "CLIPTextModel"),
    "qwen": ("transformers", "Qwen3ForCausalLM"),
}


def inputs_of(backend: str, scheme: str) -> dict[str, Any]:
    """Return what all layers are given, where a scheme is calibrated."""
    calibrated = backend in STREAMING and issubclass(BACKENDS[backend].SCHEMES[scheme].options, Calibrated)
    return {"inputs": defaultdict(lambda: 3.25)} if calibrated else {}


@dataclass(frozen=True)
class Case:
    """A component and what is done to it."""

    component: str
    backend: str
    scheme: str
    options: tuple[tuple[str, Any], ...] = ()
    keep: tuple[str, ...] = ()
    dtype: str = "bfloat16"

    def __str__(self) -> str:
        """Name the case in the test's id."""
        options = "-".join(f"{name}={value}" for name, value in self.options)
        parts = (self.component, self.backend, self.scheme, options, self.dtype, *self.keep)
        return "-".join(part for part in parts if part)

    @property
    def filled(self) -> dict[str, Any]:
        """All options, defaults included."""
        options = BACKENDS[self.backend].SCHEMES[self.scheme].options(**dict(self.options)).model_dump(mode="json")
        return options | inputs_of(self.backend, self.scheme)


ON_CPU = [
    (name, scheme)
    for name, backend in STREAMING.items()
    for scheme, one in backend.SCHEMES.items()
    if one.makes_on == "cpu"
]
# What writes a component as a user of the library would, where that is no from_pretrained and save_pretrained.
MAKERS = {
    "gguf": gguf_worker.make,
    "comfy": comfy_worker.make,
    "bfl": bfl_worker.make,
    "compressed-tensors": compressed_worker.make,
}
PACKED = ("w4a16", "nvfp4a16")  # of compressed-tensors: transformers loads language models of it, and no T5 nor CLIP
PLAIN = dict.fromkeys(("comfy", "bfl"), (("names", "diffusers"),))  # as the library's own layers are called
NESTED = (("double_quant", True), ("compute_dtype", "float32"))
CASES = [
    *(
        Case(component, name, scheme, PLAIN.get(name, ()))
        for component in ("transformer", "t5", "clip")
        for name, scheme in ON_CPU
        if CLASSES[component][0] in BACKENDS[name].LOADERS
        and scheme not in PACKED
        and not (name == "gguf" and component in {"t5", "clip"})
    ),
    *(Case(component, "bitsandbytes", "nf4", NESTED) for component in ("transformer", "t5", "clip")),
    Case("unet", "bitsandbytes", "nf4"),
    Case("unet", "bitsandbytes", "int8"),
    Case("unet", "torchao", "int8-weight-only"),
    Case("unet", "quanto", "int8"),
    Case("unet", "quanto", "int4"),
    Case("transformer", "bitsandbytes", "nf4", dtype="float32"),
    Case("transformer", "torchao", "int8-weight-only", dtype="float32"),
    Case("transformer", "quanto", "int8", dtype="float16"),
    Case("t5", "bitsandbytes", "nf4", dtype="float16"),
    Case("transformer", "bitsandbytes", "nf4", keep=("transformer_blocks.0.attn",)),
    Case("transformer", "bitsandbytes", "int8", keep=("*proj_out",)),
    Case("transformer", "torchao", "int8-weight-only", keep=("proj_out",)),
    Case("transformer", "quanto", "int8", keep=("*.proj_mlp",)),
    Case("clip", "bitsandbytes", "nf4", keep=("*.q_proj",)),
    Case("clip", "torchao", "int8-weight-only", keep=("*.q_proj",)),
    Case("unet", "gguf", "q8_0"),
    Case("transformer", "gguf", "q4_0", dtype="float32"),
    Case("transformer", "gguf", "q5_1", dtype="float16"),
    Case("transformer", "gguf", "q8_0", keep=("*proj_out",)),
    *(Case("qwen", "compressed-tensors", scheme) for scheme in ("fp8-dynamic", *PACKED)),
    Case("qwen", "compressed-tensors", "w4a16", (("group_size", 32),), dtype="float16"),
    Case("clip", "compressed-tensors", "fp8-dynamic", keep=("*.out_proj",)),
    Case("unet", "comfy", "int8-convrot", PLAIN["comfy"]),
    Case("transformer", "comfy", "nvfp4", PLAIN["comfy"], dtype="float32"),
    Case("transformer", "comfy", "int8", PLAIN["comfy"], keep=("*proj_out",)),
    Case("transformer", "bfl", "fp8", PLAIN["bfl"], keep=("*proj_out",), dtype="float32"),
]

MIXED = Case("transformer", "gguf", "q4_k", (("layers", {"transformer_blocks.0.attn": "q8_0"}),))
NAMED = {
    names: Case("z-image", "gguf", "q4_k", (("layers", {"layers.0.attention": "q8_0"}), ("names", names)))
    for names in ("diffusers", "family")
}
UNLIKE = Case("z-image", "gguf", "q4_k", (("layers", {"layers.0.attention.to_k": "q8_0"}), ("names", "family")))
FUSED = {scheme: Case("z-image", "comfy", scheme) for scheme in BACKENDS["comfy"].SCHEMES}
READ = {
    scheme: Case("transformer", "bfl", scheme, PLAIN["bfl"], keep=("proj_out",)) for scheme in BACKENDS["bfl"].SCHEMES
}
OPENED = [MIXED, *NAMED.values(), UNLIKE, *FUSED.values(), *READ.values()]  # as single files


def question_of(case: Case, folder: Path) -> ConversionRequest:
    """Return what is asked of the library in a case."""
    library, class_name = CLASSES[case.component]
    slots = read_header(weights_of(folder))
    return ConversionRequest(
        library=library,
        class_name=class_name,
        config=json.loads((folder / "config.json").read_text()),
        tensors={name: slot.header for name, slot in slots.items()},
        dtype=case.dtype,
        quantization=BACKENDS[case.backend].configuration(case.scheme, case.filled),
        backend=case.backend,
        keep=case.keep,
    )


def single_file_of(component: str, folder: Path) -> SingleFileRequest:
    """Return what is asked of where a family has a component's tensors."""
    shapes = {name: slot.shape for name, slot in read_header(weights_of(folder)).items()}
    config = json.loads((folder / "config.json").read_text())
    return SingleFileRequest(class_name=CLASSES[component][1], config=config, shapes=shapes)


def weights_of(folder: Path) -> Path:
    """Return the only weight file of a component."""
    (found,) = [path for path in folder.iterdir() if path.suffix in {".safetensors", ".gguf"}]
    return found


def form_of(case: Case) -> Form:
    """Return in what files the backend of a case writes."""
    return BACKENDS[case.backend].LOADERS[CLASSES[case.component][0]].form


@dataclass(frozen=True)
class Streamed:
    """What we made: the folder, and the tensors that were planned for it."""

    folder: Path
    planned: Mapping[str, Any]


def stream_case(case: Case, source: Path, answers: Path, out: Path, limit: int = 0) -> Streamed:
    """Make a component our way."""
    backend = STREAMING[case.backend]
    slots = read_header(weights_of(source))
    answer = ask(question_of(case, source), answers, str(case))
    layouts = {
        name: backend.layout(case.scheme, case.filled, name, slots[name].shape, conversion.dtype)
        for name, conversion in answer.conversions.items()
        if conversion.quantized
    }
    library, class_name = CLASSES[case.component]
    form = form_of(case)
    suffix = backend.SCHEMES[case.scheme].suffix
    single = f"model{form.joint}{suffix}.{form.format}" if form.joint else ""
    named = None
    if case.filled.get("names") == "family":
        named = ask_single_file(single_file_of(case.component, source), answers, str(case))
        weights = lay_out_as(named, answer, slots, partial(backend.layout, case.scheme, case.filled), single)
    else:
        weights = lay_out(answer, slots, layouts, library, limit, single)
    out.mkdir(parents=True)
    packer = Packer(backend, case.scheme, case.filled, class_name=class_name)
    path = weights_of(source)
    file = local_file(path, path.name, slots, ListedFile(size=path.stat().st_size))
    stream([file], [Job(answer, slots, weights, packer, out, out / ".journal", form.format, named)], lambda *_: None)
    (out / ".journal").unlink()
    (out / "config.json").write_text(answer.config if form.config else (source / "config.json").read_text())
    if index := weights.index():
        (out / "diffusion_pytorch_model.safetensors.index.json").write_bytes(index)
    return Streamed(out, {name: spec for shard in weights.shards for name, spec in shard.tensors.items()})


def by_library(case: Case, source: Path, answers: Path, out: Path) -> Path:
    """Make a component the library's way: load the whole model with its config, save it."""
    backend = BACKENDS[case.backend]
    library, class_name = CLASSES[case.component]
    settings = backend.configuration(case.scheme, case.filled) | inputs_of(case.backend, case.scheme)
    if case.keep:
        said = json.loads(ask(question_of(case, source), answers, str(case)).config)["quantization_config"]
        settings[backend.SKIP["key"]] = said[backend.SKIP["key"]]
    MAKERS.get(case.backend, build_worker.make)(
        BuildRequest(
            backend=case.backend,
            library=library,
            class_name=class_name,
            source=source,
            out=out,
            dtype=case.dtype,
            quantization=settings,
        )
    )
    return out

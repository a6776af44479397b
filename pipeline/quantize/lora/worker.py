"""Fuses LoRAs by the library's own layers; run as a process of its own by `adapters.fuse_into`.

diffusers loads each LoRA file, whatever its format, onto a pipeline whose weights have shapes and no content. Then each
layer that it put in gets its real weight from the file, merges, and gives it back to the file.

Reads a `Job` from stdin and writes ``{"fused": ...}`` or ``{"error": ...}`` as the last line of stdout.
"""

from __future__ import annotations

import logging
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.quantize.lora.adapters import Adapter, Job, TensorLocation
from pipeline.quantize.lora.meta_models import MetaModel, hollow
from pipeline.source.safetensors import TORCH_DTYPES
from pipeline.worker.child import WorkerError, first_line, serve
from pipeline.worker.startup import gc_paused

if TYPE_CHECKING:
    import torch

ADAPTER = "fused"
LOST = re.compile(r"[Uu]nsupported|dora_scale|(unexpected|missing) keys|not support|filter (them )?out")  # in its log
END_OF_MODULE = re.compile(r"\.(lora_|lokr_|processor\.|alpha$|to_[a-z]+_lora)")
OTHER = "Name another LoRA, or one that was trained for this model."


def fuse(job: Job) -> dict[str, list[str]]:
    """Fuse every LoRA of a job, or only see what that would change; return the changed tensors by component.

    Raises:
        WorkerError: One does not fit.
    """
    pipe, models = pipeline_of(job)
    fused: dict[str, set[str]] = {name: set() for name in models}
    for lora in job.loras:
        try:
            load(pipe, models, lora)
            for name, model in models.items():
                for layer in layers_of(model):
                    changed = merge(layer, model, lora, Path(job.folder)) if job.folder else merged(layer, model)
                    fused[name].update(changed)
        except WorkerError as refusal:
            raise WorkerError(refusal.kind, refusal.what, refusal.remedy, lora.where) from refusal
        pipe.unload_lora_weights()
    return {name: sorted(tensors) for name, tensors in fused.items() if tensors}


def pipeline_of(job: Job) -> tuple[Any, dict[str, MetaModel]]:
    """Return the pipeline with nothing in it but hollow models, for those components that its class loads LoRAs onto.

    Raises:
        WorkerError: The class takes no LoRAs.
    """
    import diffusers

    cls = getattr(diffusers, job.pipeline, None)
    names = getattr(cls, "_lora_loadable_modules", [])
    models = {name: hollow(part) for name, part in job.parts.items() if name in names}
    if cls is None or not models or not hasattr(cls, "load_lora_weights"):
        raise WorkerError("lora", f"diffusers has no way to load a LoRA onto a {job.pipeline}.", "Take the LoRA out.")
    pipe = cls.__new__(cls)
    absent = dict.fromkeys(cls._get_signature_keys(cls)[0])
    pipe.register_modules(**absent | {name: model.module for name, model in models.items()})
    return pipe, models


def load(pipe: Any, models: dict[str, MetaModel], lora: Adapter) -> None:
    """Have the library load a LoRA, and hold it to having taken every tensor.

    Raises:
        WorkerError: It cannot, or dropped some.
    """
    folder, file = os.path.split(lora.file)
    try:
        with told_by_diffusers() as said:
            given = names_of(pipe, folder, weight_name=file)
            require_plain(given)
            require_all_read(pipe, lora, given)
            pipe.load_lora_weights(folder, weight_name=file, adapter_name=ADAPTER)
    except (WorkerError, ImportError):
        raise
    except Exception as error:  # its converters raise whatever their first line trips over
        what = f"diffusers cannot load it onto a {type(pipe).__name__}: {type(error).__name__}: {first_line(error)}"
        raise WorkerError("lora", what, OTHER) from error
    require_all_taken(pipe, models, given)
    if lost := next((text for text in said if LOST.search(text)), ""):
        raise WorkerError("lora", f"diffusers drops a part of it: {' '.join(lost.split())[:300]}", OTHER)


def names_of(pipe: Any, *file: Any, **where: Any) -> set[str]:
    """Return the names that diffusers gives to the tensors of a LoRA, whatever their format."""
    read = pipe.lora_state_dict(*file, **where)
    return set(read[0] if isinstance(read, tuple) else read)


def require_all_read(pipe: Any, lora: Adapter, given: set[str]) -> None:
    """Refuse tensors that a conversion passes over without a word: without them it gives the same names.

    Raises:
        WorkerError: There are such tensors.
    """
    from safetensors.torch import load_file

    whole = load_file(lora.file)
    for family in sorted({family_of(key) for key in whole}):
        rest = {key: values for key, values in whole.items() if family_of(key) != family}
        lost = [key for key in whole if key not in rest]
        try:
            same = bool(rest) and names_of(pipe, rest) == given
        except Exception:  # noqa: S112  its converters again: what they cannot read without them was not passed over
            continue
        if same:
            what = f"diffusers passes over {lost[0]!r} and {len(lost) - 1} more, without a word."
            raise WorkerError("lora", what, OTHER)


def family_of(key: str) -> str:
    """Return what the tensors of all blocks of one kind have in common."""
    return re.split(r"[._]\d+[._]|\.", key, maxsplit=1)[0]


def require_all_taken(pipe: Any, models: dict[str, MetaModel], given: set[str]) -> None:
    """Refuse tensors that are on no layer.

    Raises:
        WorkerError: There are such tensors.
    """
    from peft.utils import get_peft_model_state_dict

    taken, modules = 0, set()
    for name, model in models.items():
        if layers := list(layers_of(model)):
            taken += len(get_peft_model_state_dict(model.module, adapter_name=ADAPTER))
            modules |= {without_text_model(f"{name}.{layer}") for layer, _ in layers}
    if taken != len(given):
        raise stray(pipe, given, modules, taken)


def require_plain(given: set[str]) -> None:
    """Refuse what is more than a LoRA: control LoRAs bring norms that replace those of the model.

    Raises:
        WorkerError: There is a tensor of another kind.
    """
    if odd := sorted(key for key in given if "lora" not in key and "lokr" not in key):
        raise WorkerError("lora", f"{odd[0]!r} (one of {len(odd)}) is no tensor of a LoRA.", OTHER)


def stray(pipe: Any, given: set[str], modules: set[str], taken: int) -> WorkerError:
    """Return the refusal for tensors that the library left out, by the modules that it has nothing for."""
    meant = {without_text_model(END_OF_MODULE.split(key, maxsplit=1)[0]) for key in given}
    lost = sorted(meant - modules)
    kind, known = type(pipe).__name__, ", ".join(sorted(pipe._lora_loadable_modules))
    if not lost:
        return WorkerError("lora", f"{kind} takes {taken} of its {len(given)} tensors.", OTHER)
    more = f" and {len(lost) - 3} more" if len(lost) > 3 else ""
    what = f"{kind} has nothing that takes its tensors for {', '.join(lost[:3])}{more}; LoRAs go to {known}."
    return WorkerError("lora", what, OTHER)


def without_text_model(name: str) -> str:
    """Return a module's name as transformers 5 has it, which left out a level of CLIP's text encoders."""
    return name.replace(".text_model.", ".")


def layers_of(model: MetaModel) -> Iterator[tuple[str, Any]]:
    """Return the layers that peft put in, by the name of the module in whose place each is."""
    from peft.tuners.tuners_utils import BaseTunerLayer

    return ((name, layer) for name, layer in model.module.named_modules() if isinstance(layer, BaseTunerLayer))


def merge(layer: tuple[str, Any], model: MetaModel, lora: Adapter, folder: Path) -> list[str]:
    """Merge one layer as ``fuse_lora`` does, and return the tensors that it changed.

    Raises:
        WorkerError: The layer is not of the source's shape, or what comes of it is no number.
    """
    name, tuner = layer
    base = tuner.get_base_layer()
    kinds = [kind for kind, held in base._parameters.items() if held is not None]
    stored = {kind: Stored(folder, home_of(f"{name}.{kind}", model)) for kind in kinds}
    empty = dict(base._parameters)
    for kind, place in stored.items():
        require_shape(name, tuple(empty[kind].shape), place.home.shape)
        base._parameters[kind] = place.read()
    if lora.scale != 1.0:
        tuner.scale_layer(lora.scale)
    tuner.merge()
    changed = [kind for kind in kinds if kind == "weight" or any(tuner.lora_bias.values())]
    for kind in changed:
        stored[kind].write(base._parameters[kind].data, name)
    base._parameters.update(empty)
    return [model.sources[f"{name}.{kind}"] for kind in changed]


def merged(layer: tuple[str, Any], model: MetaModel) -> list[str]:
    """Return the tensors that merging a layer would change."""
    name, tuner = layer
    kinds = ["weight", *(["bias"] if any(tuner.lora_bias.values()) else [])]
    return [model.sources[f"{name}.{kind}"] for kind in kinds if f"{name}.{kind}" in model.sources]


def home_of(parameter: str, model: MetaModel) -> TensorLocation:
    """Return where a parameter's content lies.

    Raises:
        WorkerError: Its library makes it of other tensors.
    """
    if parameter not in model.sources:
        what = f"{parameter} is put together from several tensors of the source when it is loaded."
        raise WorkerError("lora", what, "Such a module cannot be fused one tensor at a time; name another LoRA.")
    return model.tensors[model.sources[parameter]]


def require_shape(name: str, wanted: tuple[int, ...], stored: tuple[int, ...]) -> None:
    """Refuse a LoRA for which diffusers widens a layer, as it does for control LoRAs.

    Raises:
        WorkerError: It did.
    """
    if wanted != stored:
        what = f"It makes the weight of {name} {list(wanted)}, and the source has {list(stored)}."
        raise WorkerError("lora", what, OTHER)


@dataclass(frozen=True)
class Stored:
    """One tensor on the disk."""

    folder: Path
    home: TensorLocation

    @property
    def dtype(self) -> torch.dtype:
        """Its torch dtype."""
        import torch

        found: torch.dtype = getattr(torch, TORCH_DTYPES[self.home.dtype])
        return found

    def read(self) -> torch.nn.Parameter:
        """Return it as a parameter."""
        import torch

        with (self.folder / self.home.file).open("rb") as file:
            file.seek(self.home.begin)
            content = bytearray(file.read(self.home.end - self.home.begin))
        values = torch.frombuffer(content, dtype=self.dtype).reshape(self.home.shape)
        return torch.nn.Parameter(values, requires_grad=False)

    def write(self, values: torch.Tensor, name: str) -> None:
        """Put other values in its place; a file that has another name elsewhere is copied first.

        Raises:
            Refusal: They are not all numbers, or not of its dtype.
        """
        import torch

        if values.dtype != self.dtype or tuple(values.shape) != self.home.shape:
            raise WorkerError("library", f"peft made {name} {values.dtype} of shape {list(values.shape)}.", OTHER)
        if not torch.isfinite(values).all():
            raise WorkerError(
                "lora", f"With it {name} is not finite any more.", "Lower its scale, or name another LoRA."
            )
        path = self.folder / self.home.file
        if path.stat().st_nlink > 1:
            aside = path.with_name(f".{path.name}")
            shutil.copyfile(path, aside)
            aside.replace(path)
        with path.open("r+b") as file:
            file.seek(self.home.begin)
            file.write(values.contiguous().reshape(-1).view(torch.uint8).numpy().data)


@contextmanager
def told_by_diffusers() -> Iterator[list[str]]:
    """Return a list that fills with what diffusers logs: it drops tensors with no more than that."""
    said: list[str] = []
    hearing = logging.Handler(logging.INFO)
    hearing.emit = lambda record: said.append(record.getMessage())  # type: ignore[method-assign]
    logger = logging.getLogger("diffusers")
    level = logger.level
    logger.addHandler(hearing)
    logger.setLevel(logging.INFO)
    try:
        yield said
    finally:
        logger.removeHandler(hearing)
        logger.setLevel(level)


def say(job: Job) -> dict[str, Any]:
    """Return what was fused, or why nothing was."""
    try:
        return {"fused": fuse(job)}
    except WorkerError as refusal:
        return refusal.said
    except ImportError as error:
        what = f"A library is missing or broken: {first_line(error)}"
        return WorkerError("environment", what, "Install it: pip install 'quantpress[models]'.").said
    except OSError as error:
        return WorkerError("environment", f"The disk: {first_line(error)}", "Free some room.").said


if __name__ == "__main__":
    with gc_paused():
        serve(lambda job, _: say(Job.model_validate_json(job)))

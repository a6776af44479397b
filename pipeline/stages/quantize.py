"""Quantize: the source streamed through the backends into a checkpoint folder with its manifest."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.backends import BACKENDS, Backend
from pipeline.backends.protocol import require
from pipeline.checkpoint.layout import INDEX
from pipeline.checkpoint.stream import WEIGHTS_NAME, WeightFile, stream
from pipeline.errors import CannotHereError, PublishError, QuantizationError
from pipeline.events import Event, Listener
from pipeline.files import human_size, link_or_copy, write_atomically
from pipeline.plan import Asked, TargetPlan
from pipeline.store import Store

if TYPE_CHECKING:
    import torch


@dataclass
class Packer:
    """A backend with its scheme, as the stream uses it."""

    backend: Backend
    scheme: str
    options: Mapping[str, Any]
    where: str
    modules: list[str] = field(default_factory=list)

    def pack(self, name: str, weight: torch.Tensor) -> tuple[Mapping[str, torch.Tensor], str | None]:
        """Quantize one weight.

        Raises:
            QuantizationError: The library failed on it.
        """
        try:
            packed = self.backend.pack(self.scheme, self.options, name, weight)
        except PublishError:
            raise
        except Exception as error:
            raise QuantizationError(
                f"{self.backend.DISTRIBUTION} failed on tensor {name!r} of shape {list(weight.shape)}: {error}.",
                where=self.where,
                remedy="Keep this module with keep: in the recipe, or choose another scheme.",
            ) from error
        return packed.tensors, packed.metadata

    def metadata(self, parameters: list[str], packed: Mapping[str, str]) -> dict[str, str]:
        """Return the header's metadata."""
        return self.backend.metadata(parameters, packed)


def quantize(plan: TargetPlan, asked: Mapping[str, Asked], source: Path, store: Store, listen: Listener) -> Path:
    """Return the checkpoint folder of a target.

    Args:
        plan: The target's plan.
        asked: What is known of each component to quantize.
        source: The folder with the source's files.
        store: Where checkpoints are kept.
        listen: Hears of progress in bytes of the source.

    Raises:
        CannotHereError: A library or device is missing, or the disk is full.
        SourceError: A weight holds NaN or Inf.
        QuantizationError: The library failed.
    """
    for part in asked.values():
        require(BACKENDS[part.quantization.backend], part.quantization.scheme)

    def build(folder: Path) -> None:
        shutil.rmtree(folder)
        folder.mkdir()
        require_room(plan, folder)
        replaced = {file for part in asked.values() for file in part.component.weights}
        replaced |= {part.component.index for part in asked.values() if part.component.index}
        replaced |= {f"{name}/config.json" for name in asked}
        for name in plan.files.keys() - replaced:
            link_or_copy(source / name, folder / name)
        done, total = 0, sum(part.source_bytes for part in plan.components.values())
        for part in asked.values():
            for tensor, size in quantize_component(part, source, folder, plan.source.where):
                done += size
                listen(Event("progress", "quantize", plan.target, tensor, done, total, "B"))

    return store.make("checkpoint", plan.build_key, build)


def quantize_component(part: Asked, source: Path, folder: Path, where: str = "") -> Any:
    """Write one component and yield each source tensor's name and bytes as it is done.

    Args:
        part: The component.
        source: The folder with the source's files.
        folder: The folder of the result.
        where: How the source is named in messages; its folder by default.
    """
    name, quantization = part.component.name, part.quantization
    out = folder / name
    out.mkdir(parents=True, exist_ok=True)
    packer = Packer(BACKENDS[quantization.backend], quantization.scheme, quantization.options, name)
    files = [WeightFile(source / file, slots, f"{where or source}/{file}") for file, slots in part.slots.items()]
    yield from stream(files, part.answer, part.weights, out, packer)
    write_atomically(out / "config.json", part.answer.config.encode())
    index = part.weights.index()
    if index is not None:
        write_atomically(out / f"{WEIGHTS_NAME[part.component.library]}{INDEX}", index)


def require_room(plan: TargetPlan, folder: Path) -> None:
    """Refuse to begin what the disk cannot hold.

    Raises:
        CannotHereError: There is less room than the result takes.
    """
    free = shutil.disk_usage(folder).free
    if free < plan.result_bytes:
        raise CannotHereError(
            f"The result takes {human_size(plan.result_bytes)} and the disk has {human_size(free)} left.",
            where=str(folder),
            remedy="Free some room or give another folder with --home, then run the same command again: it continues.",
        )

"""Groups of layers that a recipe can name together and keep: blocks of a component, or a whole text encoder."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path

from pipeline.backends import BACKENDS
from pipeline.plan.model import ResolvedComponent, stored_as
from pipeline.plan.shards import nominal_size
from pipeline.source.safetensors import DTYPE_SIZES, STORED_DTYPES
from pipeline.validate import Report
from pipeline.validate.layer_swap_worker import Swap


@dataclass(frozen=True)
class Layer:
    """One quantized layer.

    Attributes:
        swap: How it is given back to the source for a trial.
        size: Bytes that keeping it costs.
        parameters: How many its weight has.
        sqnr: Decibels of its signal that it keeps as loaded; none where nobody looked.
    """

    swap: Swap
    size: int
    parameters: int
    sqnr: float | None

    @property
    def noise(self) -> float:
        """Its part in the noise, in parameters that are nothing else."""
        return self.parameters * 10 ** (-(self.sqnr or 0.0) / 10)


@dataclass(frozen=True)
class Group:
    """Layers that are kept together.

    Attributes:
        component: Whose they are.
        patterns: What ``keep`` says of them; empty where the whole component is left as it is.
        layers: The layers.
    """

    component: str
    patterns: tuple[str, ...]
    layers: tuple[Layer, ...]

    @property
    def name(self) -> str:
        """The group in a few words."""
        return " ".join([self.component, *self.patterns])

    @property
    def size(self) -> int:
        """Bytes that keeping it costs."""
        return sum(layer.size for layer in self.layers)

    @property
    def swaps(self) -> list[Swap]:
        """How it is given back to the source for a trial."""
        return [layer.swap for layer in self.layers]

    @property
    def sqnr(self) -> float | None:
        """Decibels of signal that the least of its layers keeps."""
        return min((layer.sqnr for layer in self.layers if layer.sqnr is not None), default=None)

    @property
    def noise_per_byte(self) -> float:
        """How much noise goes for a byte, as far as the layers tell by themselves."""
        return sum(layer.noise for layer in self.layers) / max(self.size, 1)


def groups_of(parts: Mapping[str, ResolvedComponent], report: Report, source: Path) -> list[Group]:
    """Return all groups of a target, the most suspicious first.

    Args:
        parts: What is known of each component that it quantizes.
        report: What its validation said.
        source: The folder of the source.
    """
    heard = {f"{layer.component}/{layer.name}": layer.sqnr for layer in report.layers}
    found = [group for name, part in parts.items() for group in _groups(name, part, list(_layers(part, heard, source)))]
    return sorted(found, key=lambda group: (-group.noise_per_byte, group.name))


def _groups(name: str, part: ResolvedComponent, layers: list[Layer]) -> Iterator[Group]:
    """Return the groups of a component."""
    if part.component.library == "transformers":
        yield Group(name, (), tuple(layers))
        return
    by_leaf = BACKENDS[part.quantization.backend].SKIP["spelling"] == "leaf"
    together: dict[str, list[Layer]] = {}
    for layer in layers:
        together.setdefault((_leaf if by_leaf else _block)(layer.swap.module), []).append(layer)
    for word, inner in together.items():
        modules = {layer.swap.module for layer in inner}
        patterns = [word] * (word in modules) + [f"*.{word}"] * bool(modules - {word}) if by_leaf else [word]
        yield Group(name, tuple(patterns), tuple(inner))


def _leaf(module: str) -> str:
    """Return the last part of a module's name, which is all that some libraries compare."""
    return module.rpartition(".")[2]


def _block(module: str) -> str:
    """Return the top-level block that a module belongs to, such as ``transformer_blocks.0`` or ``proj_out``."""
    first, *rest = module.split(".")
    return f"{first}.{rest[0]}" if rest and rest[0].isdigit() else first


def _layers(part: ResolvedComponent, heard: Mapping[str, float | None], source: Path) -> Iterator[Layer]:
    """Return every quantized layer of a component."""
    files = {tensor: file for file, slots in part.slots.items() for tensor in slots}
    tensors = part.tensors
    for name, conversion in part.answer.conversions.items():
        if not conversion.quantized:
            continue
        shape, module = conversion.shape_of(tensors[name].shape), conversion.parameter.removesuffix(".weight")
        packed = stored_as(part.quantization, name, shape, conversion.dtype).values()
        taken = sum(nominal_size(dtype, inner) for dtype, inner in packed if inner is not None)
        swap = Swap(
            component=part.component.name,
            module=module,
            file=str(source / files[name]),
            tensor=name,
            dtype=conversion.dtype,
            transposed=conversion.transposed,
        )
        full = prod(shape) * DTYPE_SIZES[STORED_DTYPES[conversion.dtype]]
        yield Layer(swap, full - taken, prod(shape), heard.get(f"{part.component.name}/{module}"))

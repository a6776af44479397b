"""Small sources of several files, and a scheme of the tests' own: halves, and the sum of each block of 8."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from blake3 import blake3

from pipeline.backends.oracle.conversion import Conversion, ConversionPlan
from pipeline.files import ListedFile, hashed
from pipeline.kernels.packing import Finished
from pipeline.plan.shards import lay_out
from pipeline.quantize.component_writer import Job
from pipeline.quantize.spans import WeightFile, local_file
from pipeline.source.safetensors import read_header

UNIT = 8
NAMES = {np.dtype("f4"): "F32", np.dtype("f2"): "F16", np.dtype("u2"): "BF16", np.dtype("i8"): "I64"}


@dataclass
class Halving:
    """Packs a float32 weight to float16 halves, and the sum of each block of 8 as statistics."""

    name: str
    count: int
    sums: Any = None
    noise: float = 0.0
    unit: int = UNIT

    def pack(self, first: int, values: Any) -> list[tuple[str, int, Any]]:
        if self.sums is None:
            self.sums = np.zeros(-(-self.count // UNIT), np.float32)
        blocks = np.add.reduceat(values, np.arange(0, values.size, UNIT))
        self.sums[first // UNIT : first // UNIT + blocks.size] = blocks
        return [(self.name, first * 2, (values / 2).astype(np.float16))]

    def finish(self) -> Finished:
        return Finished({f"{self.name}.sums": self.sums}, noise=1.0, signal=100.0)


@dataclass(frozen=True)
class Halver:
    """The packer of the tests' scheme."""

    describes: bool = True
    suffix: str = ""

    def packing(self, name: str, shape: tuple[int, ...], dtype: str) -> Halving:
        return Halving(name, int(np.prod(shape)))

    def describe(self, name: str, shape: tuple[int, ...], dtype: str) -> str | None:
        return "halved"

    def metadata(self, parameters: list[str], described: Mapping[str, str]) -> dict[str, str]:
        return {"format": "pt", **described}


def write_file(path: Path, tensors: Mapping[str, Any]) -> None:
    """Write a safetensors file without any library."""
    header, offset = {}, 0
    for name, value in tensors.items():
        kind = NAMES[value.dtype]
        header[name] = {"dtype": kind, "shape": list(value.shape), "data_offsets": [offset, offset + value.nbytes]}
        offset += value.nbytes
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + b"".join(value.tobytes() for value in tensors.values()))


@dataclass
class Made:
    """A source of a component with its parts."""

    folder: Path
    tensors: list[dict[str, Any]]
    paths: list[Path] = field(default_factory=list)

    @property
    def files(self) -> list[WeightFile]:
        listed = [ListedFile(size=path.stat().st_size, blake3=hashed(path, blake3())[0]) for path in self.paths]
        return [
            local_file(path, path.name, read_header(path), one) for path, one in zip(self.paths, listed, strict=True)
        ]

    def job(self, out: Path, limit: int = 0, *, late: bool = False) -> Job:
        out.mkdir(parents=True, exist_ok=True)
        slots = {name: slot for path in self.paths for name, slot in read_header(path).items()}
        kinds = {"F32": "float32", "F16": "float16", "BF16": "bfloat16"}
        conversions = {
            name: Conversion(parameter=name, dtype=kinds.get(slot.dtype, slot.dtype), quantized="weight" in name)
            for name, slot in slots.items()
        }
        answer = ConversionPlan(conversions=conversions, parameters=tuple(slots), kept={}, config="{}")
        layouts: dict[str, Any] = {
            name: {
                name: ("F16", slots[name].shape),
                f"{name}.sums": ("F32", (-(-int(np.prod(slots[name].shape)) // UNIT),)),
            }
            for name, conversion in conversions.items()
            if conversion.quantized
        }
        weights = lay_out(answer, slots, layouts, "diffusers", limit)
        return Job(answer, slots, weights, Halver(describes=not late), out, out.with_suffix(".journal"))


@pytest.fixture
def source(tmp_path: Path) -> Callable[[Sequence[Mapping[str, Any]]], Made]:
    """Write files of tensors."""

    def write(parts: Sequence[Mapping[str, Any]]) -> Made:
        folder = tmp_path / "source"
        folder.mkdir(exist_ok=True)
        made = Made(folder, [dict(part) for part in parts])
        for number, part in enumerate(parts):
            path = folder / f"part-{number}.safetensors"
            write_file(path, part)
            made.paths.append(path)
        return made

    return write


@pytest.fixture
def three(source: Callable[[Sequence[Mapping[str, Any]]], Made]) -> Made:
    """Three files, each with weights of several blocks of bytes, a ragged one, a bias and an integer buffer."""
    random = np.random.default_rng(0)
    return source(
        [
            {
                f"{part}.a.weight": random.normal(size=(1500, 1024)).astype("f4"),
                f"{part}.bias": random.normal(size=(77,)).astype("f4"),
                f"{part}.b.weight": random.normal(size=(301, 333)).astype("f4"),
                f"{part}.ids": np.arange(5),
                f"{part}.none": np.zeros((0, 4), "f4"),
            }
            for part in range(3)
        ]
    )

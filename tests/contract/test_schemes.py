"""Every scheme that works on a CPU gives what the library itself would have written: the library is the oracle."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Final, NamedTuple

import pytest
import torch
from contract import cases
from gguf import GGUFReader
from safetensors import safe_open

from pipeline.backends import BACKENDS
from pipeline.backends.loader import lifts_of
from pipeline.source.safetensors import read_header

FLOATS: Final = {"torch.bfloat16", "torch.float16", "torch.float32", "BF16", "F16", "F32"}


class Stored(NamedTuple):
    """A tensor as a file has it."""

    kind: str
    shape: tuple[int, ...]
    content: bytes


def read(path: Path) -> tuple[dict[str, Stored], dict[str, Any]]:
    """Return the tensors of a file and its metadata, as the library of its format reads them."""
    if path.suffix == ".gguf":
        reader = GGUFReader(path)
        found = {one.name: Stored(one.tensor_type.name, tuple(one.shape), one.data.tobytes()) for one in reader.tensors}
        return found, {key: field.contents() for key, field in reader.fields.items()}
    with safe_open(path, "pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        stored = {name: Stored(str(one.dtype), tuple(one.shape), as_bytes(one)) for name, one in tensors.items()}
        return stored, file.metadata() or {}


def as_bytes(tensor: torch.Tensor) -> bytes:
    return tensor.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()


def canonical(metadata: dict[str, Any]) -> dict[str, Any]:
    """Undo the one thing that torchao writes in a random order."""
    read = {name: json.loads(text) if str(text)[:1] in "[{" else text for name, text in metadata.items()}
    for entry in read.values():
        if isinstance(entry, dict) and "_tensor_data_names" in entry:
            entry["_tensor_data_names"].sort()
    return read


@pytest.mark.parametrize("case", cases.CASES, ids=str)
def test_streaming_writes_what_the_library_writes(
    case: cases.Case, components: Path, answers: Path, tmp_path: Path
) -> None:
    ours = cases.stream_case(case, components / case.component, answers, tmp_path / "ours")
    theirs = cases.by_library(case, components / case.component, answers, tmp_path / "theirs")
    got, got_metadata = read(cases.weights_of(ours.folder))
    want, want_metadata = read(cases.weights_of(theirs))
    assert {name: (value.kind, value.shape) for name, value in got.items()} == {
        name: (value.kind, value.shape) for name, value in want.items()
    }
    assert [name for name in want if got[name].content != want[name].content] == []
    assert canonical(got_metadata) == canonical(want_metadata)
    config = json.loads((theirs / "config.json").read_text())
    config.pop("_name_or_path", None)  # a path of the machine that made it
    assert json.loads((ours.folder / "config.json").read_text()) == config
    assert kept_by(case, components / case.component, got) == named_by(case, components / case.component)


def named_by(case: cases.Case, source: Path) -> set[str]:
    """Return the weights that ``keep`` names."""
    names = {name.removesuffix(".weight") for name in read_header(cases.weights_of(source)) if name.endswith("weight")}
    patterns = [spelling for pattern in case.keep for spelling in (pattern, f"{pattern}.*")]
    return {name for name in names for pattern in patterns if fnmatchcase(name, pattern)}


def kept_by(case: cases.Case, source: Path, got: dict[str, Stored]) -> set[str]:
    """Return the weights that are whole here and quantized where nothing is kept."""
    whole = {name for name, one in got.items() if one.kind in FLOATS}
    kept = {name for name in named_by(case, source) if f"{name}.weight" in whole}
    if case.keep:
        others = got.keys() - whole
        assert others, "keep left nothing quantized"
    return kept


def test_large_weights_begin_at_whole_lines(components: Path, answers: Path, tmp_path: Path) -> None:
    case = cases.Case("transformer", "quanto", "int8")
    ours = cases.stream_case(case, components / "transformer", answers, tmp_path / "ours")
    slots = read_header(cases.weights_of(ours.folder))
    large = [slot for slot in slots.values() if (slot.end - slot.begin) % 64 == 0]
    assert len(large) > 20
    assert {slot.begin % 64 for slot in large} == {0}


def test_the_same_input_gives_the_same_bytes(components: Path, answers: Path, tmp_path: Path) -> None:
    for case in [case for case in cases.CASES if case.component == "transformer" and case.dtype == "bfloat16"]:
        made = [
            cases.stream_case(case, components / case.component, answers, tmp_path / str(case) / str(run))
            for run in range(2)
        ]
        first, second = (cases.weights_of(run.folder).read_bytes() for run in made)
        assert first == second


@pytest.mark.parametrize("scheme", ["nf4", "int8"])
def test_a_weight_and_its_statistics_are_never_parted(
    scheme: str, components: Path, answers: Path, tmp_path: Path
) -> None:
    case = cases.Case("transformer", "bitsandbytes", scheme)
    ours = cases.stream_case(case, components / "transformer", answers, tmp_path / "ours", limit=60_000)
    shards = sorted(ours.folder.glob("*.safetensors"))
    assert len(shards) > 3
    assert shards[0].name == f"diffusion_pytorch_model-00001-of-{len(shards):05d}.safetensors"
    from diffusers import FluxTransformer2DModel

    (lift,) = lifts_of([BACKENDS["bitsandbytes"].LOADERS["diffusers"]])
    lift.before()
    model = FluxTransformer2DModel.from_pretrained(ours.folder, dtype=torch.bfloat16, **lift.arguments)
    whole = read(
        cases.weights_of(cases.stream_case(case, components / "transformer", answers, tmp_path / "one").folder)
    )
    loaded = {name: value for name, value in model.state_dict().items() if isinstance(value, torch.Tensor)}
    assert {name for name, one in whole[0].items() if as_bytes(loaded[name].cpu()) != one.content} == set()


GROWTH = """
import gc, json, resource, sys
from pathlib import Path
import torch
gc.disable()  # a cycle that holds a weight is to be seen, however often a collection would break it
from safetensors.torch import save_file
from pipeline.backends import BACKENDS
from pipeline.backends.oracle.conversion import ConversionPlan, Conversion
from pipeline.source.safetensors import read_header
from pipeline.quantize.component_writer import Job
from pipeline.plan.shards import lay_out
from pipeline.quantize.spans import local_file
from pipeline.quantize.stream import stream
from pipeline.files import ListedFile
from pipeline.quantize.build import Packer

count, folder = int(sys.argv[1]), Path(sys.argv[2])
weights = {f"layers.{number}.weight": torch.full((1024, 2048), 0.5, dtype=torch.bfloat16) for number in range(4)}
for part in range(count):
    save_file({f"part{part}.{name}": value for name, value in weights.items()}, folder / f"{part}.safetensors")
paths = sorted(folder.glob("*.safetensors"))
files = [local_file(path, path.name, read_header(path), ListedFile(size=path.stat().st_size)) for path in paths]
slots = {name: slot for file in files for name, slot in file.slots.items()}
answer = ConversionPlan(
    conversions={name: Conversion(parameter=name, dtype="bfloat16", quantized=True) for name in slots},
    parameters=tuple(slots), kept={}, config="",
)
backend, scheme = BACKENDS[sys.argv[3]], sys.argv[4]
options = backend.SCHEMES[scheme].options().model_dump()
layouts = {name: backend.layout(scheme, options, name, slot.shape, "bfloat16") for name, slot in slots.items()}
(folder / "out").mkdir()
form = backend.LOADERS["diffusers"].form.format
weights = lay_out(answer, slots, layouts, "diffusers", single="model.gguf" if form == "gguf" else "")
job = Job(answer, slots, weights, Packer(backend, scheme, options), folder / "out", folder / "journal", form)
stream(files, [job], lambda *_: None)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)
"""


@pytest.mark.parametrize(
    ("backend", "scheme"),
    [
        ("bitsandbytes", "nf4"),
        pytest.param("torchao", "int8-weight-only", marks=pytest.mark.nightly),
        pytest.param("gguf", "q8_0", marks=pytest.mark.nightly),
    ],
)
def test_memory_does_not_grow_with_the_model(backend: str, scheme: str, tmp_path: Path) -> None:
    peaks = {}
    # Large blocks go back to the system at once, so that the peak shows what is held and not how glibc keeps pages.
    environment = {**os.environ, "MALLOC_MMAP_THRESHOLD_": "1000000"}
    for count in (4, 12):  # 67 MB of weights, and 201 MB
        folder = tmp_path / str(count)
        folder.mkdir()
        command = [sys.executable, "-c", GROWTH, str(count), str(folder), backend, scheme]
        done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
        peaks[count] = int(done.stdout.split()[-1])
    assert peaks[12] - peaks[4] < 30_000_000

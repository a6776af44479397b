"""Files of strangers: whatever their bytes are, they are judged or refused, and nothing else happens."""

from __future__ import annotations

import json
import random
import struct
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.errors import SourceError
from pipeline.files import ListedFile
from pipeline.lint import Linted, lint
from pipeline.lint.faults import RULES
from pipeline.source.layout import Folder
from tests.lint.models import MADE

SIZES = {"F32": 4, "BF16": 2, "U8": 1, "I8": 1, "F8_E4M3": 1, "I32": 4, "F16": 2}
ENDS = (
    "weight", "weight_scale", "weight_scale_2", "input_scale", "comfy_quant", "SCB", "weight.absmax", "weight._data",
    "weight.quant_state.bitsandbytes__nf4", "_weight_qdata", "weight_packed", "scale_weight", "weight._scale",
    "weight._data._data", "weight.nested_absmax",
)  # fmt: skip


NAMES = [f"{layer}.{end}" for layer in "ab" for end in ENDS]


class Memory:
    """A place whose files are bytes."""

    where = "memory"

    def __init__(self, **files: bytes) -> None:
        self._files = {name.replace("_dot_", "."): content for name, content in files.items()}
        self.files = {name: ListedFile(size=len(content)) for name, content in self._files.items()}

    def read(self, name: str, offset: int, length: int) -> bytes:
        return self._files[name][offset : offset + length]

    def read_large(self, name: str, offset: int, length: int, _block: memoryview) -> bytes:
        return self.read(name, offset, length)


def looked_at(place: Memory | Folder, base: Memory | Folder | None = None) -> Linted | None:
    """Lint a place; everything that is found is of a known rule, and can be told and written."""
    try:
        found = lint(place, base)
    except SourceError:
        return None
    for fault in found.everything:
        assert fault.rule in RULES
        assert str(fault).isprintable()
    json.dumps(found.json(), allow_nan=False)
    return found


@st.composite
def models(draw: st.DrawFn) -> bytes:
    """A file of safetensors that is in order, with names of quantized layers, and dtypes and shapes of no format."""
    names = draw(st.lists(st.sampled_from(NAMES), unique=True, max_size=8))
    entries: dict[str, object] = {}
    offset = 0
    for name in names:
        dtype = draw(st.sampled_from(sorted(SIZES)))
        shape = draw(st.lists(st.integers(0, 5).map(lambda size: size * 8), max_size=3))
        size = SIZES[dtype] * int(np.prod(shape, dtype=np.int64))
        entries[name] = {"dtype": dtype, "shape": shape, "data_offsets": [offset, offset + size]}
        offset += size
    if said := draw(st.sampled_from(SAID)):
        entries["__metadata__"] = {"_quantization_metadata": said, "tensor_names": said, "a.weight": said}
    text = json.dumps(entries).encode()
    return struct.pack("<Q", len(text)) + text + random.Random(draw(st.integers(0, 9))).randbytes(offset)


SAID = (
    "",
    "{}",
    "[",
    '["a.weight", "b.weight"]',
    '{"layers": 3}',
    '{"layers": {"a": {"format": "nvfp4"}, "b": 7}}',
    '{"layers": {"a": {"format": "int8_tensorwise", "convrot": true, "convrot_groupsize": "x"}}}',
    '{"_type": "Int8Tensor", "_tensor_data_names": [3]}',
)
GROUPS = {"a": {"weights": {"num_bits": "x"}}}
METHODS = ("bitsandbytes", "torchao", "quanto", "compressed-tensors", "modelopt", "gptq", "\x00", 7)
SAYING = [{"quantization_config": {"quant_method": method, "config_groups": GROUPS}} for method in METHODS]
CONFIGS = st.sampled_from(
    [b"", b"[]", b"{", b'{"quantization_config": 3}', *(json.dumps(one).encode() for one in SAYING)]
)


@settings(deadline=None, max_examples=50)
@given(models(), models(), CONFIGS)
def test_tensors_of_no_format_are_judged(content: bytes, base: bytes, config: bytes) -> None:
    files = {"model_dot_safetensors": content} | ({"config_dot_json": config} if config else {})
    looked_at(Memory(**files), Memory(model_dot_safetensors=base))


@settings(deadline=None, max_examples=100)
@given(st.binary(max_size=300), st.sampled_from([b"", b"GGUF\3\0\0\0", b"\x10\0\0\0\0\0\0\0{"]))
def test_junk_is_refused(content: bytes, begin: bytes) -> None:
    for name in ("model_dot_safetensors", "model_dot_gguf"):
        found = looked_at(Memory(**{name: begin + content}))
        assert found is None or found.first


@pytest.fixture(scope="module")
def originals(made: Path) -> dict[str, bytes]:
    """The bytes of a file in each format."""
    files = {
        name: next(path for path in (made / name).iterdir() if path.suffix in {".gguf", ".safetensors"})
        for name in MADE
    }
    return {name: path.read_bytes() for name, path in files.items()}


def mutations(content: bytes, seed: int) -> Iterator[bytes]:
    """Yield a file with some bytes changed, mostly of its header and its ends, or with a piece lost or twice."""
    chance = random.Random(seed)
    for _ in range(4):
        spoiled = bytearray(content)
        reach = chance.choice([64, 4096, 60_000, len(content)])
        for _ in range(chance.choice([1, 3, 30])):
            spoiled[chance.randrange(min(reach, len(spoiled)))] = chance.choice([0, 1, 0x22, 0x7F, 0x80, 0xFF])
        yield bytes(spoiled)
    cut = chance.randrange(len(content))
    yield content[:cut]
    yield content[:cut] + content[cut // 2 :]


@pytest.mark.parametrize("name", MADE)
def test_a_file_with_changed_bytes_is_judged(name: str, originals: dict[str, bytes]) -> None:
    ending = "gguf" if name.startswith("gguf") else "safetensors"
    base = Memory(model_dot_safetensors=originals["plain"])
    for content in mutations(originals[name], len(name)):
        looked_at(Memory(**{f"model_dot_{ending}": content}), base)

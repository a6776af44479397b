"""A file of GGUF is the one that the gguf package writes, byte for byte, however its tensors come."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import gguf as package
import numpy as np
import pytest
from blake3 import blake3
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.errors import QuantizationError
from pipeline.files import hashed
from pipeline.kernels.ggml import TYPES
from pipeline.quantize.formats import gguf
from pipeline.quantize.shard_writer import Writer
from pipeline.source.gguf import parse_header, size_of

KEYS: dict[str, Any] = {
    "general.architecture": "flux",
    "general.file_type": 7,
    "test.exact": True,
    "test.float": 0.5,
    "test.texts": ["<s>", "é", ""],
    "test.kinds": [3, 1, -1],
    "test.scores": [-0.5, 2.0],
    "test.bytes": bytes([0, 200, 7]),
}
TENSORS = st.dictionaries(
    st.text(min_size=1, max_size=12),
    st.tuples(st.sampled_from(["F32", "F16", "BF16", "Q8_0", "Q4_K"]), st.lists(st.integers(1, 4), max_size=4)),
    min_size=1,
    max_size=6,
)


def by_package(path: Path, tensors: dict[str, tuple[str, tuple[int, ...]]], content: dict[str, bytes]) -> bytes:
    """Write the same with the package, and return the file."""
    writer = package.GGUFWriter(path, "flux")
    writer.add_file_type(7)
    writer.add_bool("test.exact", True)
    writer.add_float32("test.float", 0.5)
    for key in ("test.texts", "test.kinds", "test.scores", "test.bytes"):
        writer.add_array(key, KEYS[key])
    for name, (kind, shape) in tensors.items():
        rows = np.frombuffer(content[name], np.uint8).reshape(*shape[:-1], size_of(kind, shape[-1:]))
        writer.add_tensor(name, rows, raw_dtype=package.GGMLQuantizationType[kind])
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path.read_bytes()


@settings(deadline=None, max_examples=40)
@given(TENSORS, st.randoms(use_true_random=False))
def test_a_file_is_that_of_the_package(tmp_path_factory: pytest.TempPathFactory, tensors: Any, random: Any) -> None:
    folder = tmp_path_factory.mktemp("written")
    planned = {name: (kind, (*axes, TYPES[kind].block * 3)) for name, (kind, axes) in tensors.items()}
    content = {name: random.randbytes(size_of(*spec)) for name, spec in planned.items()}
    with ThreadPoolExecutor(1) as writing:
        scattered = random.sample(sorted(planned), random.randint(0, len(planned)))
        ordered = sorted(planned, key=lambda name: name in scattered)
        writer = Writer(folder / "ours", gguf, gguf.place(dict(planned), scattered), KEYS, 0, writing)
        cuts = {name: random.randint(0, len(whole)) for name, whole in content.items()}
        parts = [(name, part) for name in ordered for part in ((0, cuts[name]), (cuts[name], len(content[name])))]
        loose = [part for part in parts if part[0] in scattered]
        for name, (first, last) in (*parts[: len(parts) - len(loose)], *random.sample(loose, len(loose))):
            writer.put(name, first, memoryview(content[name])[first:last])
        built = writer.finish(KEYS)
    ours = (folder / "ours").read_bytes()
    assert ours == by_package(folder / "theirs", {name: planned[name] for name in ordered}, content)
    assert (built.size, built.blake3) == (len(ours), hashed(folder / "ours", blake3())[0])
    read = parse_header(lambda at, length: ours[at : at + length], len(ours), "ours")
    assert {name: (slot.dtype, slot.shape) for name, slot in read.tensors.items()} == planned
    assert {name: ours[slot.begin : slot.end] for name, slot in read.tensors.items()} == content
    assert read.metadata == KEYS | {"test.bytes": [*KEYS["test.bytes"]]}


def test_tensors_come_in_the_order_of_the_file(tmp_path: Path) -> None:
    with ThreadPoolExecutor(1) as writing:
        writer = Writer(tmp_path / "x", gguf, gguf.place({"a": ("F32", (3,)), "b": ("F32", (16,))}), KEYS, 0, writing)
        with pytest.raises(QuantizationError, match="b came out of its order"):
            writer.put("b", 0, memoryview(bytes(64)))
        writer.close()

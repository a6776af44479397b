"""What is written is what the safetensors library reads, whatever came when, and its digest is the file's."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from blake3 import blake3
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import safe_open

from pipeline.errors import QuantizationError
from pipeline.files import hashed
from pipeline.quantize.formats import safetensors
from pipeline.quantize.formats.safetensors import LINE
from pipeline.quantize.shard_writer import Writer
from pipeline.source.disk import LocalFile
from pipeline.source.safetensors import read_header, size_of

NUMPY = {"F64": "f8", "F32": "f4", "F16": "f2", "I64": "i8", "I32": "i4", "I16": "i2", "I8": "i1", "U8": "u1"}

TENSORS = st.dictionaries(
    st.text(min_size=1, max_size=12).filter(lambda name: name != "__metadata__"),
    st.tuples(
        st.sampled_from(sorted(NUMPY)), st.lists(st.integers(0, 9) | st.just(64), max_size=3).map(tuple), st.just(False)
    )
    | st.tuples(st.just("U8"), st.just((7,)), st.just(True)),
    min_size=1,
    max_size=8,
)


@settings(deadline=None, max_examples=40)
@given(TENSORS, st.randoms(use_true_random=False), st.booleans())
def test_tensors_written_in_pieces_are_read_back(tmp_path_factory, tensors, random, metadata_known) -> None:
    path = tmp_path_factory.mktemp("written") / "x.safetensors"
    content = {
        name: random.randbytes(size_of(dtype, (7,) if late else shape))
        for name, (dtype, shape, late) in tensors.items()
    }
    planned = {name: (dtype, None if late else shape) for name, (dtype, shape, late) in tensors.items()}
    with ThreadPoolExecutor(1) as writing:
        known = {"format": "pt"} if metadata_known else None
        writer = Writer(path, safetensors, safetensors.place(planned), known, 0, writing)
        whole = [name for name in tensors if len(content[name]) % LINE == 0 and planned[name][1] is not None]
        others = random.sample(sorted(tensors.keys() - set(whole)), len(tensors) - len(whole))
        for name in (*whole, *others):  # whole lines come in their order, the rest whenever it is ready
            cut = random.randint(0, len(content[name])) if planned[name][1] is not None else 0
            for first, last in ((0, cut), (cut, len(content[name]))):
                if planned[name][1] is not None or last:
                    writer.put(name, first, memoryview(content[name])[first:last])
        entry = writer.finish({"format": "pt"})
    assert (entry.size, entry.blake3) == (path.stat().st_size, hashed(path, blake3())[0])
    slots = read_header(path)
    for name, (dtype, _, _) in tensors.items():
        assert slots[name].begin % (LINE if name in whole else size_of(dtype, ())) == 0
    with safe_open(path, "numpy") as file:
        assert file.metadata() == {"format": "pt"}
        for name, (dtype, shape, late) in tensors.items():
            want = np.frombuffer(content[name], dtype=NUMPY[dtype]).reshape((7,) if late else shape)
            assert file.get_tensor(name).tobytes() == want.tobytes()


@pytest.mark.parametrize("room", [64, 4096 + 64, 9_000_000 // 64 * 64])
def test_what_comes_in_no_order_lies_where_it_was_put(tmp_path: Path, room: int) -> None:
    content = {"a": np.random.default_rng(0).bytes(9_000_000 // 64 * 64), "b": np.random.default_rng(1).bytes(room)}
    specs = {name: ("U8", (len(whole),)) for name, whole in content.items()} | {"late": ("U8", None)}
    with ThreadPoolExecutor(1) as writing:
        placed = safetensors.place(specs, {"b"})
        writer = Writer(tmp_path / "x", safetensors, placed, {"format": "pt"}, 0, writing)
        for name, first in [("b", room // 2), *(("a", at) for at in range(0, len(content["a"]), 1_000_000)), ("b", 0)]:
            end = {"a": first + 1_000_000, "b": room if first else room // 2}[name]
            writer.put(name, first, memoryview(content[name])[first:end])
        writer.put("late", 0, memoryview(b"{}"))
        entry = writer.finish({"format": "pt"})
    assert (entry.size, entry.blake3) == ((tmp_path / "x").stat().st_size, hashed(tmp_path / "x", blake3())[0])
    with safe_open(tmp_path / "x", "numpy") as file:
        found = {name: file.get_tensor(name).tobytes() for name in specs}
    assert found == content | {"late": b"{}"}


def test_a_tensor_other_than_planned_or_missing_is_a_failure(tmp_path: Path) -> None:
    with ThreadPoolExecutor(1) as writing:
        specs = {"a": ("U8", (2,)), "b": ("U8", (1,)), "c": ("U8", (64,)), "d": ("U8", (64,))}
        writer = Writer(tmp_path / "x.safetensors", safetensors, safetensors.place(specs), {}, 0, writing)
        with pytest.raises(QuantizationError, match="a has 3 bytes more, 2 were planned"):
            writer.put("a", 0, memoryview(b"abc"))
        with pytest.raises(QuantizationError, match="no such tensor was planned"):
            writer.put("e", 0, memoryview(b"a"))
        with pytest.raises(QuantizationError, match="d came out of its order"):
            writer.put("d", 0, memoryview(bytes(64)))
        writer.put("a", 0, memoryview(b"ab"))
        with pytest.raises(QuantizationError, match="c was never written whole"):
            writer.finish({})
        writer.close()


def test_a_file_system_that_refuses_direct_access_when_it_comes_to_it_is_read_through_the_cache(tmp_path: Path) -> None:
    content, path = bytes(range(256)) * 64, tmp_path / "file"
    with path.open("wb") as written:
        written.write(content)
        written.flush()
        os.fsync(written.fileno())
        os.posix_fadvise(written.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)  # what is cached is not read directly
    file, askew = LocalFile(path), memoryview(bytearray(len(content) + 1))[1:]  # begins at no page
    try:
        assert file.read(0, askew) == len(content)
    finally:
        file.close()
    assert bytes(askew) == content

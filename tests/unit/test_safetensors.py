"""Headers are believed only after they were checked, and what is written is what the safetensors library reads."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import safe_open

from pipeline.checkpoint.safetensors import Writer, parse_header, read_header, size_of
from pipeline.errors import QuantizationError, SourceError

SIMPLE = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}
NUMPY = {"F64": "f8", "F32": "f4", "F16": "f2", "I64": "i8", "I32": "i4", "I16": "i2", "I8": "i1", "U8": "u1"}


def file_of(header: object, data: bytes) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


def parse(content: bytes, size: int | None = None) -> dict[str, object]:
    return dict(parse_header(lambda at, length: content[at : at + length], size or len(content), "x.safetensors"))


def test_an_honest_file_is_read_in_the_order_of_its_data() -> None:
    header = {"b": {"dtype": "U8", "shape": [1], "data_offsets": [8, 9]}, "__metadata__": {"format": "pt"}, "a": SIMPLE}
    assert list(parse(file_of(header, bytes(9)))) == ["a", "b"]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "claims"),
        (b"\x08\0\0\0", "claims"),
        (struct.pack("<Q", 2**62) + b"{}", "claims"),
        (file_of(b"not json", b""), "no JSON"),
        (file_of(b"[1]", b""), "no JSON object"),
        (file_of(b"[" * 5000, b""), "no JSON"),
        (file_of(b'{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"a":1}', bytes(8)), "twice"),
        (file_of({"a": {**SIMPLE, "dtype": "F33"}}, bytes(8)), "unknown dtype"),
        (file_of({"a": {**SIMPLE, "shape": [3]}}, bytes(8)), "claims dtype F32, shape [3]"),
        (file_of({"a": {**SIMPLE, "shape": [-2]}}, bytes(8)), "claims dtype"),
        (file_of({"a": {**SIMPLE, "shape": [True, 2]}}, bytes(8)), "claims dtype"),
        (file_of({"a": {**SIMPLE, "data_offsets": [8, 16]}}, bytes(16)), "begins at byte"),
        (file_of({"a": SIMPLE, "b": {**SIMPLE, "data_offsets": [4, 12]}}, bytes(12)), "begins at byte"),
        (file_of({"a": SIMPLE}, bytes(7)), "truncated"),
        (file_of({"a": SIMPLE}, bytes(9)), "longer than its tensors"),
    ],
)
def test_a_header_that_lies_is_refused_with_its_reason(content: bytes, reason: str) -> None:
    with pytest.raises(SourceError) as caught:
        parse(content)
    assert reason in str(caught.value)
    assert str(caught.value).startswith("x.safetensors: ")


@given(st.binary(max_size=200))
def test_junk_is_refused_and_never_crashes(content: bytes) -> None:
    try:
        parse(content)
    except SourceError:
        return


def test_a_header_costs_two_reads_at_most() -> None:
    entries = {f"t{number}": {"dtype": "U8", "shape": [0], "data_offsets": [0, 0]} for number in range(20_000)}
    content = file_of(entries, b"")
    reads = []

    def read(at: int, length: int) -> bytes:
        reads.append(length)
        return content[at : at + length]

    assert len(parse_header(read, len(content), "x")) == 20_000
    assert len(reads) == 2


TENSORS = st.dictionaries(
    st.text(min_size=1, max_size=12).filter(lambda name: name != "__metadata__"),
    st.tuples(st.sampled_from(sorted(NUMPY)), st.lists(st.integers(0, 9), max_size=3).map(tuple), st.just(False))
    | st.tuples(st.just("U8"), st.just((7,)), st.just(True)),
    min_size=1,
    max_size=8,
)


@settings(deadline=None)
@given(TENSORS, st.randoms(use_true_random=False))
def test_tensors_written_in_any_order_are_read_back(tmp_path_factory, tensors, random) -> None:
    path = tmp_path_factory.mktemp("written") / "x.safetensors"
    content = {
        name: random.randbytes(size_of(dtype, (7,) if late else shape))
        for name, (dtype, shape, late) in tensors.items()
    }
    planned = {name: (dtype, None if late else shape) for name, (dtype, shape, late) in tensors.items()}
    writer = Writer(path, planned, 0)
    for name in random.sample(sorted(tensors), len(tensors)):
        dtype, shape, late = tensors[name]
        writer.put(name, dtype, (7,) if late else shape, content[name])
    writer.finish({"format": "pt"})
    slots = read_header(path)
    for name, (dtype, _, _) in tensors.items():
        assert slots[name].begin % size_of(dtype, ()) == 0
    with safe_open(path, "numpy") as file:
        assert file.metadata() == {"format": "pt"}
        for name, (dtype, shape, late) in tensors.items():
            want = np.frombuffer(content[name], dtype=NUMPY[dtype]).reshape((7,) if late else shape)
            assert file.get_tensor(name).tobytes() == want.tobytes()


def test_a_tensor_other_than_planned_or_missing_is_a_failure(tmp_path: Path) -> None:
    writer = Writer(tmp_path / "x.safetensors", {"a": ("U8", (2,)), "b": ("U8", (1,))}, 0)
    with pytest.raises(QuantizationError, match=r"planned was U8 \[2\]"):
        writer.put("a", "U8", (3,), b"abc")
    with pytest.raises(QuantizationError, match="no such tensor"):
        writer.put("c", "U8", (1,), b"a")
    writer.put("a", "U8", (2,), b"ab")
    with pytest.raises(QuantizationError, match="b was never written"):
        writer.finish({})
    writer.close()

"""Headers are believed only after they were checked."""

from __future__ import annotations

import json
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import SourceError
from pipeline.source.safetensors import parse_header

SIMPLE = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}


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

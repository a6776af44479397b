"""JSON of a source that could not be written again is refused where it is read, and no claim of it takes for ever."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import pytest

from pipeline.errors import SourceError
from pipeline.source.layout import Folder, read_source
from pipeline.source.safetensors import read_header
from pipeline.source.strict import parse, read_index

UNWRITABLE = {
    "not a number": b'{"a": NaN}',
    "infinite": b'{"a": [-Infinity]}',
    "too large": b'{"a": 1e999}',
    "half a character": b'{"a": "\\uD800"}',
    "half a character as a name": b'{"\\ud800": 1}',
    "half a character in bytes": b'{"a": "\xed\xa0\x80"}',
    "another encoding": '{"a": 1}'.encode("utf-16"),
    "deep": b'{"a": ' + b"[" * 100 + b"]" * 100 + b"}",
    "very deep": b"[" * 100_000,
    "thousands of digits": b'{"a": ' + b"9" * 5000 + b"}",
}


@pytest.mark.parametrize("text", UNWRITABLE.values(), ids=list(UNWRITABLE))
def test_a_config_that_could_not_be_written_again_is_refused_by_name(text: bytes, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_bytes(text)
    with pytest.raises(SourceError, match=r"config\.json is no JSON \("):
        read_source(Folder(tmp_path))
    with pytest.raises(SourceError, match="not readable"):
        read_index(b'{"weight_map": {}, "metadata": ' + text + b"}", "index")


def test_whole_characters_and_numbers_are_read_as_they_are() -> None:
    text = '{"\\ud83d\\ude00": "\\\\ud800", "a": [1e-320, -0.0, 123456789012345678901234567890]}'
    assert parse(text.encode()) == json.loads(text)


@pytest.mark.parametrize("shape", [[10**4000] * 2000, [2**63, 0], [0] * 65], ids=["endless", "large", "many"])
def test_a_shape_that_no_tensor_has_is_refused_at_once_and_in_few_words(shape: list[int], tmp_path: Path) -> None:
    text = json.dumps({"a": {"dtype": "F32", "shape": shape, "data_offsets": [0, 0]}}).encode()
    (tmp_path / "a.safetensors").write_bytes(struct.pack("<Q", len(text)) + text)
    with pytest.raises(SourceError, match="tensor 'a' claims dtype F32") as refused:
        read_header(tmp_path / "a.safetensors")
    assert len(str(refused.value)) < 1000

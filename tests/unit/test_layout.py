"""Which files are read: those that `from_pretrained` reads, safetensors only, and headers before weights."""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping

import pytest

from pipeline.checkpoint.layout import read_layout, read_slots
from pipeline.errors import SourceError
from pipeline.files import ListedFile

INDEX = {
    "_class_name": "FluxPipeline",
    "_diffusers_version": "0.42.1",
    "transformer": ["diffusers", "FluxTransformer2DModel"],
    "text_encoder": ["transformers", "CLIPTextModel"],
    "image_encoder": [None, None],
    "tokenizer": ["transformers", "CLIPTokenizer"],
}


def weights(*names: str, room: int = 4) -> bytes:
    entries = {
        name: {"dtype": "U8", "shape": [room], "data_offsets": [at * room, (at + 1) * room]}
        for at, name in enumerate(names)
    }
    header = json.dumps(entries).encode()
    return struct.pack("<Q", len(header)) + header + bytes(room * len(names))


class Memory:
    """A source that lies in a dict and remembers how many bytes of it were read."""

    where = "a/b@0123456789ab"

    def __init__(self, content: Mapping[str, bytes]) -> None:
        self.content = content
        self.files = {name: ListedFile(size=len(data)) for name, data in content.items()}
        self.read_bytes = 0

    def read(self, name: str, offset: int, length: int) -> bytes:
        found = self.content[name][offset : offset + length]
        self.read_bytes += len(found)
        return found


def source(**changes: bytes | None) -> Memory:
    content: dict[str, bytes | None] = {
        "model_index.json": json.dumps(INDEX).encode(),
        "README.md": b"# A model",
        "LICENSE.md": b"a license",
        "flux.safetensors": b"the original in one file",
        "transformer/config.json": b"{}",
        "transformer/diffusion_pytorch_model.safetensors": weights("x.weight"),
        "transformer/diffusion_pytorch_model.bin": b"pickle",
        "text_encoder/config.json": b"{}",
        "text_encoder/model.safetensors": weights("y.weight"),
        "text_encoder/model.fp16.safetensors": weights("y.weight"),
        "tokenizer/vocab.json": b"{}",
        "tokenizer/merges.txt": b"",
    }
    content |= {name.replace("__", "/"): data for name, data in changes.items()}
    return Memory({name: data for name, data in content.items() if data is not None})


def test_only_what_loading_reads_is_wanted() -> None:
    assert read_layout(source()).wanted == [
        "LICENSE.md",
        "model_index.json",
        "text_encoder/config.json",
        "text_encoder/model.safetensors",
        "tokenizer/merges.txt",
        "tokenizer/vocab.json",
        "transformer/config.json",
        "transformer/diffusion_pytorch_model.safetensors",
    ]


def test_headers_are_read_and_weights_are_not() -> None:
    place = source(**{"transformer/diffusion_pytorch_model.safetensors": weights("x.weight", room=10_000_000)})
    slots = read_slots(place, read_layout(place).components["transformer"])
    assert slots["transformer/diffusion_pytorch_model.safetensors"]["x.weight"].shape == (10_000_000,)
    assert place.read_bytes < 1_000_000


SHARDS = {
    "transformer/diffusion_pytorch_model.safetensors": None,
    "transformer/diffusion_pytorch_model-00001-of-00002.safetensors": weights("x.weight"),
    "transformer/diffusion_pytorch_model-00002-of-00002.safetensors": weights("z.weight"),
}
NAME = "diffusion_pytorch_model-0000{}-of-00002.safetensors"


def sharded(weight_map: object) -> Memory:
    index = json.dumps({"weight_map": weight_map}).encode()
    return source(**SHARDS, **{"transformer/diffusion_pytorch_model.safetensors.index.json": index})


def test_shards_are_found_by_their_index() -> None:
    place = sharded({"x.weight": NAME.format(1), "z.weight": NAME.format(2)})
    part = read_layout(place).components["transformer"]
    assert part.weights == tuple(f"transformer/{NAME.format(number)}" for number in (1, 2))
    assert [list(slots) for slots in read_slots(place, part).values()] == [["x.weight"], ["z.weight"]]


@pytest.mark.parametrize(
    ("weight_map", "reason"),
    [
        ({"x.weight": NAME.format(1), "z.weight": NAME.format(3)}, "which is missing"),
        ({"x.weight": "../text_encoder/model.safetensors"}, "would leave its folder"),
        ({"x.weight": "sub/other.safetensors"}, "in another folder"),
        ({"x.weight": 1}, "no file"),
        (["x.weight"], "not readable"),
    ],
)
def test_an_index_that_names_what_is_not_there_is_refused(weight_map: object, reason: str) -> None:
    with pytest.raises(SourceError, match=reason):
        read_layout(sharded(weight_map))


def test_an_index_and_shards_that_disagree_are_refused() -> None:
    place = sharded({"x.weight": NAME.format(2), "z.weight": NAME.format(1)})
    with pytest.raises(SourceError, match="disagree"):
        read_slots(place, read_layout(place).components["transformer"])


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"model_index.json": None}, "has no model_index.json"),
        ({"model_index.json": b"[]"}, "no JSON object"),
        ({"model_index.json": b"{}"}, "names no components"),
        ({"../climbs": b""}, "would leave its folder"),
        ({"tokenizer/vocab.json": None, "tokenizer/merges.txt": None}, "which has no files"),
        ({"transformer/diffusion_pytorch_model.safetensors": None}, "pickles only"),
        ({"text_encoder/model.safetensors": None}, "no plain safetensors file"),
    ],
)
def test_a_source_that_cannot_be_used_is_refused_with_the_reason(changes: dict[str, bytes], reason: str) -> None:
    with pytest.raises(SourceError, match=reason):
        read_layout(source(**changes))

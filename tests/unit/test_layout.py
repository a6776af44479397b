"""Which files are read: those that `from_pretrained` reads, safetensors only, and headers before weights."""

from __future__ import annotations

import json
import re
import struct
from collections.abc import Mapping
from pathlib import Path

import pytest
from blake3 import blake3

from pipeline.errors import SourceError
from pipeline.files import ListedFile, hashed
from pipeline.source.layout import Folder, read_layout, read_single, read_slots, read_source

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


def test_a_pipeline_is_no_single_model_and_a_single_model_no_pipeline() -> None:
    said = "It has model_index.json and no config.json: it is a pipeline, and the task wants a single model."
    with pytest.raises(SourceError, match=re.escape(said)):
        read_single(source())
    said = "It has config.json and no model_index.json: it is a single model, and the task wants a pipeline."
    with pytest.raises(SourceError, match=re.escape(said)):
        read_layout(source(**{"model_index.json": None, "config.json": b"{}"}))


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
        (
            {
                "text_encoder/model.safetensors": None,
                "text_encoder/model.fp16.safetensors": None,
                "text_encoder/other.safetensors": b"",
            },
            "no plain safetensors file",
        ),
    ],
)
def test_a_source_that_cannot_be_used_is_refused_with_the_reason(changes: dict[str, bytes], reason: str) -> None:
    with pytest.raises(SourceError, match=reason):
        read_layout(source(**changes))


def test_diffusers_reads_shards_before_a_single_file_and_transformers_after() -> None:
    place = sharded({"x.weight": NAME.format(1), "z.weight": NAME.format(2)})
    single = weights("x.weight", "z.weight")
    encoder = json.dumps({"weight_map": {"y.weight": "model-00001-of-00001.safetensors"}}).encode()
    place = Memory(
        place.content
        | {
            "transformer/diffusion_pytorch_model.safetensors": single,
            "text_encoder/model.safetensors.index.json": encoder,
            "text_encoder/model-00001-of-00001.safetensors": weights("y.weight"),
        }
    )
    components = read_layout(place).components
    assert components["transformer"].weights == tuple(f"transformer/{NAME.format(number)}" for number in (1, 2))
    assert components["text_encoder"].weights == ("text_encoder/model.safetensors",)


def test_a_folder_may_be_listed_without_reading_its_files(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    path.write_bytes(b"{}")
    place = Folder(tmp_path)
    assert place.listed(["config.json"]) == {"config.json": ListedFile(size=2, blake3=hashed(path, blake3())[0])}
    listed = place.files["config.json"]
    assert listed == ListedFile(size=2)
    assert listed.describes(path)
    path.write_bytes(b"{ }")
    assert not listed.describes(path)


ENCODER = {"architectures": ["T5EncoderModel"], "model_type": "t5"}


def single(config: object, **files: bytes) -> Memory:
    """Return a source whose config lies at its root."""
    content = {
        "README.md": b"# A model",
        "LICENSE": b"a license",
        "config.json": json.dumps(config).encode(),
        "tokenizer.json": b"{}",
        "generation_config.json": b"{}",
        "onnx/model.onnx_data.json": b"{}",
    }
    return Memory(content | {name.replace("__", "."): data for name, data in files.items()})


def test_a_model_of_transformers_is_one_component() -> None:
    place = single(ENCODER, model__safetensors=weights("x.weight"), pytorch_model__bin=b"pickle")
    layout = read_source(place)
    part = layout.components["model"]
    assert (layout.class_name, part.library, part.class_name) == ("T5EncoderModel", "transformers", "T5EncoderModel")
    assert part.config == "config.json"
    assert layout.wanted == [
        "LICENSE", "config.json", "generation_config.json", "model.safetensors", "tokenizer.json"
    ]  # fmt: skip
    assert list(read_slots(place, part)["model.safetensors"]) == ["x.weight"]


def test_a_model_of_diffusers_is_one_component() -> None:
    config = {"_class_name": "FluxTransformer2DModel", "architectures": ["Another"]}
    index = json.dumps({"weight_map": {"x.weight": NAME.format(1), "z.weight": NAME.format(2)}}).encode()
    files = {
        "diffusion_pytorch_model.safetensors.index.json": index,
        NAME.format(1): weights("x.weight"),
        NAME.format(2): weights("z.weight"),
    }
    part = read_source(single(config, **files)).components["model"]
    assert (part.library, part.class_name) == ("diffusers", "FluxTransformer2DModel")
    assert part.weights == (NAME.format(1), NAME.format(2))
    with pytest.raises(SourceError, match=r"The index names .*00002.*, which is missing"):
        read_source(single(config, **{name: data for name, data in files.items() if "00002-of" not in name}))


@pytest.mark.parametrize(
    ("config", "files", "reason"),
    [
        ({}, {"model__safetensors": b""}, "names no class"),
        ({"architectures": []}, {"model__safetensors": b""}, "names no class"),
        ({"architectures": [1]}, {"model__safetensors": b""}, "names no class"),
        ({"_class_name": ["A", "B"]}, {"model__safetensors": b""}, "names no class"),
        ([], {"model__safetensors": b""}, "no JSON object"),
        (ENCODER, {"pytorch_model__bin": b"pickle"}, "The weights of T5EncoderModel are pickles only"),
        (ENCODER, {}, "a config and no weights"),
        (ENCODER, {"../climbs": b""}, "would leave its folder"),
        (ENCODER, {"model__fp16__safetensors": b""}, "exist as variants only: fp16"),
    ],
)
def test_a_single_model_that_cannot_be_used_is_refused_with_the_reason(
    config: object, files: dict[str, bytes], reason: str
) -> None:
    with pytest.raises(SourceError, match=reason):
        read_source(single(config, **files))


def test_a_source_that_is_neither_is_refused() -> None:
    with pytest.raises(SourceError, match=r"neither model_index\.json nor config\.json"):
        read_source(Memory({"flux.safetensors": b""}))
    with pytest.raises(SourceError, match=r"It holds GGUF, which somebody quantized already.*full-precision weights"):
        read_source(Memory({"flux-Q8_0.gguf": b"", "README.md": b""}))
    assert read_source(source()).wanted == read_layout(source()).wanted

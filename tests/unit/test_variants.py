"""Variants: the file that the libraries would read is the one that is read, and what is published has plain names."""

from __future__ import annotations

import json
from collections.abc import Iterable

import pytest

from pipeline.errors import SourceError
from pipeline.files import ListedFile
from pipeline.source.layout import read_layout, read_source
from pipeline.source.variants import plain_index, plain_name

FILES = {
    "transformer/config.json": b"{}",
    "transformer/diffusion_pytorch_model.safetensors": b"plain",
    "transformer/diffusion_pytorch_model.fp16.safetensors": b"half",
    "transformer/diffusion_pytorch_model.non_ema.safetensors": b"other",
    "vae/config.json": b"{}",
    "vae/diffusion_pytorch_model.safetensors": b"plain",
    "vae/diffusion_pytorch_model.fp16.bin": b"pickle",
    "text_encoder/config.json": b"{}",
    "text_encoder/model.safetensors": b"plain",
}
SHARDED = "text_encoder/model.fp16-0000{}-of-00002.safetensors"
INDEX = "text_encoder/model.safetensors.index.fp16.json"
HALF_ENCODER = {
    INDEX: json.dumps(
        {
            "metadata": {"total_size": 8},
            "weight_map": {name: SHARDED.format(at).partition("/")[2] for at, name in enumerate("ab", 1)},
        }
    ).encode(),
    SHARDED.format(1): b"one",
    SHARDED.format(2): b"two",
}


class Memory:
    """A source that lies in a dict."""

    where = "a/b@0123456789ab"

    def __init__(self, content: dict[str, bytes], leave_out: Iterable[str] = ()) -> None:
        index = {
            "_class_name": "Pipeline",
            "transformer": ["diffusers", "T"],
            "vae": ["diffusers", "V"],
            "text_encoder": ["transformers", "E"],
        }
        self.content = {"model_index.json": json.dumps(index).encode(), **content}
        self.content = {name: data for name, data in self.content.items() if name not in leave_out}
        self.files = {name: ListedFile(size=len(data)) for name, data in self.content.items()}

    def read(self, name: str, offset: int, length: int) -> bytes:
        return self.content[name][offset : offset + length]


def test_a_component_is_read_in_the_variant_where_it_has_that_and_else_as_it_is() -> None:
    layout = read_layout(Memory({**FILES, **HALF_ENCODER}), "fp16")
    parts = layout.components
    assert parts["transformer"].weights == ("transformer/diffusion_pytorch_model.fp16.safetensors",)
    assert parts["vae"].weights == ("vae/diffusion_pytorch_model.safetensors",)
    assert parts["text_encoder"].weights == (SHARDED.format(1), SHARDED.format(2))
    assert {name: part.variant for name, part in parts.items()} == {
        "transformer": "fp16", "vae": None, "text_encoder": "fp16",
    }  # fmt: skip
    assert {name: file for name, file in layout.published.items() if name != file} == {
        "text_encoder/model-00001-of-00002.safetensors": SHARDED.format(1),
        "text_encoder/model-00002-of-00002.safetensors": SHARDED.format(2),
        "text_encoder/model.safetensors.index.json": INDEX,
        "transformer/diffusion_pytorch_model.safetensors": "transformer/diffusion_pytorch_model.fp16.safetensors",
    }
    assert layout.wanted == sorted(layout.published.values())
    assert {name: plain_name(file, "fp16") for name, file in layout.published.items()} == {
        name: name for name in layout.published
    }


def test_without_a_variant_none_is_wanted() -> None:
    layout = read_layout(Memory({**FILES, **HALF_ENCODER}))
    assert not [name for name in layout.wanted if "fp16" in name or "non_ema" in name]
    assert layout.published == {name: name for name in layout.wanted}


@pytest.mark.parametrize(
    ("library", "index", "shard", "found"),
    [
        ("diffusers", "{}.safetensors.index.fp16.json", "{}.fp16-00001-of-00001.safetensors", True),
        ("transformers", "{}.safetensors.index.fp16.json", "{}.fp16-00001-of-00001.safetensors", True),
        ("diffusers", "{}.safetensors.fp16.index.json", "{}-00001-of-00001.fp16.safetensors", True),
        ("transformers", "{}.safetensors.fp16.index.json", "{}-00001-of-00001.fp16.safetensors", False),
    ],
)
def test_the_spellings_are_those_that_the_libraries_read(library: str, index: str, shard: str, found: bool) -> None:
    stem = "diffusion_pytorch_model" if library == "diffusers" else "model"
    index, shard = index.format(stem), shard.format(stem)
    config = {"_class_name": "T"} if library == "diffusers" else {"architectures": ["T"]}
    content = {
        "config.json": json.dumps(config).encode(),
        index: json.dumps({"weight_map": {"a": shard}}).encode(),
        shard: b"",
    }
    place = Memory(content, {"model_index.json"})
    if not found:
        with pytest.raises(SourceError, match="exist as variants only: fp16"):
            read_source(place, "fp16")
        return
    assert read_source(place, "fp16").published == {
        "config.json": "config.json",
        f"{stem}.safetensors.index.json": index,
        f"{stem}-00001-of-00001.safetensors": shard,
    }


def test_an_index_is_published_with_plain_names_and_else_as_it_was() -> None:
    written = plain_index(HALF_ENCODER[INDEX], "fp16", INDEX)
    assert json.loads(written) == {
        "metadata": {"total_size": 8},
        "weight_map": {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"},
    }
    with pytest.raises(SourceError, match="not readable"):
        plain_index(b"[]", "fp16", INDEX)


@pytest.mark.parametrize(
    "name",
    [
        "tokenizer/model.fp16.json",
        "transformer/fp16.safetensors",
        "transformer/model.bf16.safetensors",
        "transformer/model.fp16-ema.safetensors",
        "transformer/model-00001-of-00002.safetensors",
        "fp16/model.safetensors",
        "x.fp16.safetensors/config.json",
    ],
)
def test_other_files_keep_their_names(name: str) -> None:
    assert plain_name(name, "fp16") == name


def test_weights_that_exist_as_variants_only_are_named_with_the_line_to_add() -> None:
    place = Memory(FILES, {"transformer/diffusion_pytorch_model.safetensors"})
    with pytest.raises(SourceError) as caught:
        read_layout(place)
    assert str(caught.value) == (
        "a/b@0123456789ab: The weights of transformer exist as variants only: fp16, non_ema. "
        "Choose one: `variant: fp16` in the source of the recipe, or --variant fp16."
    )
    assert read_layout(place, "fp16").components["transformer"].variant == "fp16"


@pytest.mark.parametrize(
    ("leave_out", "remedy"),
    [
        ((), "It has fp16, non_ema."),
        ([name for name in FILES if "fp16.s" in name or "non_ema" in name], "It has no variants; leave the word out."),
    ],
)
def test_a_variant_that_no_component_has_is_refused_with_those_that_exist(leave_out: list[str], remedy: str) -> None:
    with pytest.raises(SourceError, match="No component has weights of the variant 'bf16'") as caught:
        read_layout(Memory(FILES, leave_out), "bf16")
    assert str(caught.value).endswith(remedy)


@pytest.mark.parametrize(
    ("shards", "reason"),
    [
        (["model.fp16-00001-of-00001.safetensors"], "which is missing"),
        (["../model.fp16.safetensors"], "would leave its folder"),
        (["model.fp16-00001-of-00002.safetensors", "model-00001-of-00002.safetensors"], "plainly and as a variant"),
    ],
)
def test_an_index_of_a_variant_is_as_suspect_as_any(shards: list[str], reason: str) -> None:
    content = FILES | {INDEX: json.dumps({"weight_map": dict(enumerate(shards))}).encode()}
    if len(shards) == 2:
        content |= {f"text_encoder/{name}": b"" for name in shards}
    with pytest.raises(SourceError, match=reason):
        read_layout(Memory(content), "fp16")

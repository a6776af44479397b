"""Models as libraries write them are recognised and accepted, and hold what the base has."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from pipeline.lint import lint
from pipeline.lint.contents import contents_of
from pipeline.source.layout import Folder
from tests.lint.models import MADE, layers
from tests.lint.models import base as tensors_of_base
from tests.lint.spoil import opened

UNREAD = {"comfy-w4a4", "comfy-w4a8"}  # recognised, and not decoded
LEAST = {
    "comfy-int8-tensor": 30,
    "bnb-fp4": 17,
    "gguf-mxfp4": 17,
    "comfy-nvfp4": 19,
    "bfl-nvfp4": 19,
    "modelopt-nvfp4": 19,
    "bnb-nf4-nested": 20,
    "mxfp8": 31,
    "convrot": 41,
}
LEAST |= {"int8": 40, "float8": 31, "nvfp4": 20, "nf4": 20, "q8_0": 45, "q5_1": 28, "q4_0": 21, "int4": 19, "int2": 5}
LEAST |= {"w4a16": 18}
RULE = {"comfy": "comfy", "bnb": "bitsandbytes", "compressed": "compressed-tensors", "scaled": "scaled-float8"}


@pytest.mark.parametrize("name", MADE)
def test_what_a_library_wrote_is_accepted_and_close_to_its_base(name: str, made: Path) -> None:
    found = lint(Folder(made / name), Folder(made / "plain"))
    (model,) = found.models
    assert not found.everything
    assert found.first is None
    assert model.format == RULE.get(name.split("-", maxsplit=1)[0], name.split("-", maxsplit=1)[0])
    assert not model.unmatched
    if name == "plain":
        return
    (scheme,) = model.schemes
    quantized = layers(tensors_of_base())
    assert model.schemes[scheme] == len(quantized)
    compared = {layer.name: layer for layer in model.layers if layer.scheme == scheme}
    assert set(compared) == (set() if name in UNREAD else {f"{layer}.weight" for layer in quantized})
    least = LEAST.get(name) or next((decibels for word, decibels in LEAST.items() if name.endswith(word)), 0)
    for layer in compared.values():
        assert least < layer.sqnr < least + 16, layer
        assert layer.gain == pytest.approx(1, abs=0.35 if "int2" in name else 0.03)


@pytest.mark.parametrize("name", MADE)
def test_headers_alone_tell_the_format_and_read_no_weights(name: str, made: Path, tmp_path: Path) -> None:
    shutil.copytree(made / name, tmp_path / "model")
    place = Folder(tmp_path / "model")
    (subject,) = contents_of(place).subjects
    largest = max(subject.tensors.values(), key=lambda tensor: tensor.end - tensor.begin)
    with (place.path / largest.file).open("r+b") as file:
        file.seek(largest.begin)
        file.write(b"\xff" * (largest.end - largest.begin))
    whole, headers = lint(place, Folder(made / "plain")), lint(place, values=False)
    assert whole.everything or name in UNREAD
    assert not headers.everything
    assert [model.format for model in headers.models] == [model.format for model in whole.models]


def test_a_head_that_is_the_vocabulary_may_be_listed_and_not_held(made: Path, tmp_path: Path) -> None:
    """As transformers saves Whisper through torchao."""
    import torch

    shutil.copytree(made / "torchao-int8", tmp_path / "model")
    with opened(tmp_path / "model") as held:
        held.tensors["model.embed_tokens.weight"] = torch.ones(8, 8)
        names = ["proj_out.weight", "model.embed_tokens.weight"]
        held.metadata |= dict.fromkeys(names, '{"_type": "Tensor"}')
        held.metadata["tensor_names"] = json.dumps([*json.loads(held.metadata["tensor_names"]), *names])
    assert not lint(Folder(tmp_path / "model")).everything

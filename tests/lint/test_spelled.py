"""A base in diffusers' names is compared with files in the names of its family."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pipeline.backends.oracle.single_file import FileTensor, Rows
from pipeline.errors import RecipeError
from pipeline.lint import lint
from pipeline.lint.spelled import Spelled
from pipeline.source.layout import Folder
from tests.lint.models import base as tensors_of_base
from tests.lint.models import configured, layers, saved
from tests.names.families import model

HEADS = ("attn.to_k", "attn.to_q")


def fused(name: str) -> tuple[str, tuple[str, ...]] | None:
    """Return what a tensor is called in a file that holds two projections as one, and what it is made of there."""
    layer, _, end = name.rpartition(".")
    if not layer.endswith(HEADS):
        return f"net.{name}", (name,)
    if layer.endswith(HEADS[1]):
        return None
    stem = layer.removesuffix(HEADS[0])
    return f"net.{stem}qk.{end}", tuple(f"{stem}{head}.{end}" for head in HEADS)


def spell(_base: Any) -> dict[str, FileTensor]:
    found = {}
    for name, tensor in tensors_of_base().items():
        if made := fused(name):
            rows = tuple(Rows(tensor=part, start=0, stop=len(tensor)) for part in made[1])
            found[made[0]] = FileTensor(shape=(len(tensor) * len(rows), *tensor.shape[1:]), rows=rows)
    return found


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A model of int8 rows in the names of a family."""
    import torch

    tensors: dict[str, Any] = {}
    matrices = {f"{layer}.weight" for layer in layers(tensors_of_base())}
    for name in tensors_of_base():
        if not (made := fused(name)):
            continue
        whole = torch.cat([tensors_of_base()[part] for part in made[1]])
        if name not in matrices:
            tensors[made[0]] = whole
            continue
        scale = whole.float().abs().amax(1, keepdim=True) / 127
        tensors |= {made[0]: (whole / scale).round().to(torch.int8), f"{made[0]}_scale": scale}
        said = torch.tensor(list(b'{"format": "int8_tensorwise"}'), dtype=torch.uint8)
        tensors[made[0].replace(".weight", ".comfy_quant")] = said
    return saved(tmp_path / "file", tensors)


@pytest.fixture
def base(tmp_path: Path) -> Path:
    saved(tmp_path / "base", tensors_of_base())
    configured(tmp_path / "base", {"_class_name": "Model"})
    return tmp_path / "base"


def test_rows_of_fused_weights_are_found_in_the_base(file: Path, base: Path) -> None:
    found = lint(Folder(file.parent), Folder(base), spell=spell)
    assert not found.everything
    (one,) = found.models
    assert not one.unmatched
    assert len(one.layers) == len(spell(None))
    assert min(layer.sqnr for layer in one.layers) > 40


def test_rows_in_the_other_order_are_told(file: Path, base: Path) -> None:
    def turned(subject: Any) -> Spelled:
        return {name: FileTensor(shape=made.shape, rows=made.rows[::-1]) for name, made in spell(subject).items()}

    found = lint(Folder(file.parent), Folder(base), spell=turned)
    assert {fault.tensor for fault in found.everything if "Its two halves are exchanged" in fault.text} == {
        f"net.blocks.{block}.qk.weight" for block in range(8)
    }


def test_why_a_base_has_no_other_names_is_said(file: Path, base: Path) -> None:
    def refused(_subject: Any) -> Spelled:
        raise RecipeError("No file is known of Model.")

    _nothing_compared, fault = lint(Folder(file.parent), Folder(base), spell=refused).everything
    assert (fault.rule, fault.level) == ("format-unclear", "warning")
    assert fault.text == (
        "Of its 57 weights, the base has 0 by these names. It is not known by others: No file is known of Model."
    )


@pytest.mark.nightly
def test_a_file_of_a_family_is_compared_with_the_folder_of_diffusers(tmp_path: Path) -> None:
    """As the command does it, which asks the library."""
    from tests.desk import Desk, Shelf

    made = model("Flux2Transformer2DModel")
    made.save_pretrained(tmp_path / "base")
    (tmp_path / "desk").mkdir()
    desk = Desk(tmp_path / "desk", Shelf("", tmp_path, ""), tmp_path / "home")
    names = ["--backend", "gguf", "--scheme", "q8_0", "--option", "names=family"]
    assert desk.publish("quantize", tmp_path / "base", "--out", tmp_path / "file", *names).code == 0
    done = desk.publish("lint", tmp_path / "file", "--base", tmp_path / "base", "--json")
    (one,) = json.loads(done.out.splitlines()[0])["result"]["models"]
    assert (done.code, one["faults"], one["unmatched"]) == (0, [], 0)
    assert len(one["layers"]) == one["tensors"]

"""A small embedder as a graph that a page can load, a browser, and the scripts that pages load."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from pipeline.errors import CannotHereError
from pipeline.recipe.prompts import Question
from pipeline.tasks.answers import Request
from pipeline.validate.browser.driving import browser_of_this_machine
from pipeline.validate.browser.scripts import KEY
from tests.desk import once

FETCHED = Path(__file__).parents[2] / "build" / "browser" / KEY
WORDS = ("a red barn", "an owl", "three apples", "a clock", "a cat", "a bridge", "two boats", "a pear", "the moon",
         "a lamp", "old stones", "a mill", "snow")  # fmt: skip


@pytest.fixture(scope="session")
def scripts() -> Path:
    """The pinned scripts, where there is a browser that runs them."""
    lacks = "" if FETCHED.is_dir() else "the scripts that pages load are not here"
    try:
        browser_of_this_machine()
    except CannotHereError as error:
        lacks = error.what
    if lacks and os.environ.get("CI"):
        pytest.fail(f"{lacks}; `make browser` gets them")
    if lacks:
        pytest.skip(f"{lacks}; `make browser` gets them")
    return FETCHED


@pytest.fixture(scope="session")
def asked() -> Request:
    questions = tuple(Question(prompt=word) for word in WORDS)
    return Request(task="feature-extraction", questions=questions, seeds=(0,), dtype="float32")


@pytest.fixture(scope="session")
def published(embedder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The embedder as a repository that transformers.js reads, its graph exported by torch."""

    def make(folder: Path) -> None:
        shutil.copytree(embedder, folder / "tiny-bert", ignore=shutil.ignore_patterns("*.safetensors"))
        (folder / "tiny-bert" / "onnx").mkdir()
        export(embedder, folder / "tiny-bert" / "onnx" / "model.onnx")

    return once(tmp_path_factory, "graphs", make) / "tiny-bert"


def export(model: Path, to: Path) -> None:
    import torch
    from transformers import AutoModel

    class Named(torch.nn.Module):
        """The model with its inputs in an order."""

        def __init__(self) -> None:
            super().__init__()
            self.model = AutoModel.from_pretrained(model, attn_implementation="eager").eval()

        def forward(self, input_ids: Any, attention_mask: Any, token_type_ids: Any) -> Any:
            given = {"attention_mask": attention_mask, "token_type_ids": token_type_ids}
            return self.model(input_ids=input_ids, **given).last_hidden_state

    names, sizes = ["input_ids", "attention_mask", "token_type_ids"], {0: "batch", 1: "sequence"}
    shapes = {name: {at: torch.export.Dim(f"{name}_{size}") for at, size in sizes.items()} for name in names}
    example = tuple(torch.ones(2, 7, dtype=torch.int64) for _ in names)
    made = torch.onnx.export(
        Named().eval(),
        example,
        input_names=names,
        output_names=["last_hidden_state"],
        dynamic_shapes=shapes,
        verbose=False,
    )
    made.save(to)


def halved(graph: Path) -> bytes:
    """Return a graph whose largest matrix is half zeros."""
    import onnx

    model = onnx.load(graph)
    weight = max(model.graph.initializer, key=lambda one: len(one.raw_data) * (len(one.dims) == 2))
    weight.raw_data = bytes(len(weight.raw_data) // 2) + weight.raw_data[len(weight.raw_data) // 2 :]
    return bytes(model.SerializeToString())

"""Answers of the small pipeline that all tests share, and quantized variants of it."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pipeline.tasks.answers import Answers, Request
from pipeline.validate import generate
from tests.desk import asked

Variant = Callable[..., Path]


@pytest.fixture(scope="session")
def request_of_two() -> Request:
    call = {"height": 16, "width": 16, "num_inference_steps": 1, "max_sequence_length": 16}
    return asked("seven", "a thin two", call=call, dtype="bfloat16")


@pytest.fixture(scope="session")
def drawn(source: Path, request_of_two: Request, tmp_path_factory: pytest.TempPathFactory) -> tuple[Answers, Path]:
    """What the source answers, once more with everything varied, and the folder with its pictures and its layers."""
    out = tmp_path_factory.mktemp("answers") / "source"
    return generate(source, request_of_two, out, repeats=[(0, 3), (1, 3)], look=True), out


@pytest.fixture
def variant(source: Path, tmp_path: Path) -> Variant:
    """Make a copy of the source in which the given components are replaced by quantized ones."""

    def make(**components: Any) -> Path:
        folder = tmp_path / "variant"
        shutil.copytree(source, folder)
        for name, model in components.items():
            shutil.rmtree(folder / name)
            model.save_pretrained(folder / name)
        return folder

    return make

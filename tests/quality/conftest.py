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

LEVEL = 132  # of 255, from which on the classifier finds a picture light


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


@pytest.fixture(scope="session")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An image classifier that finds a picture light or dark, by its mean level."""
    import torch
    from transformers import ConvNextImageProcessor, ResNetConfig, ResNetForImageClassification

    names = {0: "dark", 1: "light"}
    kind = {"layer_type": "basic", "embedding_size": 1, "hidden_sizes": [1], "depths": [1], "id2label": names}
    model = ResNetForImageClassification(ResNetConfig(**kind))
    with torch.no_grad():
        for weight in model.parameters():
            weight.zero_()
        model.resnet.embedder.embedder.convolution.weight.fill_(1 / 147)  # the mean of 7 x 7 pixels and three channels
        model.resnet.embedder.embedder.normalization.weight.fill_(1)
        model.classifier[1].weight.copy_(torch.tensor([[-1.0], [1.0]]))
        model.classifier[1].bias.copy_(torch.tensor([LEVEL / 255, -LEVEL / 255]))
    folder = tmp_path_factory.mktemp("classifier")
    model.save_pretrained(folder)
    shapes = {"size": {"shortest_edge": 32}, "crop_pct": 1.0, "image_mean": [0.0] * 3, "image_std": [1.0] * 3}
    ConvNextImageProcessor(**shapes).save_pretrained(folder)
    return folder

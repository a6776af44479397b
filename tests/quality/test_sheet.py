"""Sheets show every pixel and are the same bytes every time."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipeline.tasks.images.sheet import write_sheet

SHAPES = [((16, 16), 256), ((100, 120), 300), ((256, 256), 256), ((1024, 1024), 256)]


@pytest.fixture
def pictures() -> list[Image.Image]:
    noise = [np.random.default_rng(number).integers(0, 256, (32, 32, 3), dtype=np.uint8) for number in range(2)]
    return [Image.fromarray(values) for values in noise]


@pytest.mark.parametrize(("size", "shown"), SHAPES)
def test_small_pictures_grow_by_whole_factors_and_large_ones_are_reduced(
    size: tuple[int, int], shown: int, tmp_path: Path
) -> None:
    write_sheet(*[Image.new("RGB", size, (1, 2, 3))] * 2, tmp_path / "sheet.png")
    with Image.open(tmp_path / "sheet.png") as sheet:
        assert sheet.width == 8 + 2 * (shown + 8)


def test_the_source_is_on_the_left(pictures: list[Image.Image], tmp_path: Path) -> None:
    write_sheet(*pictures, tmp_path / "sheet.png")
    sheet = np.array(Image.open(tmp_path / "sheet.png"))
    assert sheet.shape == (8 + 20 + 256 + 8, 8 + 2 * (256 + 8), 3)
    for left, picture in zip((8, 272), pictures, strict=True):
        assert (sheet[28 : 28 + 256 : 8, left : left + 256 : 8] == np.array(picture)).all()


def test_the_same_pictures_give_the_same_bytes(pictures: list[Image.Image], tmp_path: Path) -> None:
    for name in ("once.png", "again.png"):
        write_sheet(*pictures, tmp_path / name)
    assert (tmp_path / "once.png").read_bytes() == (tmp_path / "again.png").read_bytes()
    assert b"tIME" not in (tmp_path / "once.png").read_bytes()

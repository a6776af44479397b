"""Contact sheets show every pixel and are the same bytes every time."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipeline.tasks.images.sheet import grid


@pytest.fixture
def pictures(tmp_path: Path) -> list[Path]:
    paths = []
    for number in range(4):
        values = np.random.default_rng(number).integers(0, 256, (32, 32, 3), dtype=np.uint8)
        paths.append(tmp_path / f"{number}.png")
        Image.fromarray(values).save(paths[-1])
    return paths


@pytest.mark.parametrize(("size", "shown"), [((16, 16), 256), ((100, 120), 300), ((256, 256), 256)])
def test_small_pictures_grow_by_whole_factors(size: tuple[int, int], shown: int, tmp_path: Path) -> None:
    Image.new("RGB", size, (1, 2, 3)).save(tmp_path / "a.png")
    grid([("seven", tmp_path / "a.png", tmp_path / "a.png")], tmp_path / "grid.png")
    with Image.open(tmp_path / "grid.png") as sheet:
        assert sheet.width == shown + 16


def test_a_grid_has_a_column_a_prompt_and_a_row_a_side(pictures: list[Path], tmp_path: Path) -> None:
    columns = [("seven " * 40, pictures[0], pictures[1]), ("две", pictures[2], pictures[3])]
    grid(columns, tmp_path / "grid.png")
    sheet = np.array(Image.open(tmp_path / "grid.png"))
    assert sheet.shape == (8 + 20 + 2 * (20 + 256 + 8), 8 + 2 * (256 + 8), 3)
    tops, lefts = (48, 332), (8, 272)
    for number, path in enumerate(pictures):
        top, left = tops[number % 2], lefts[number // 2]
        assert (sheet[top : top + 256 : 8, left : left + 256 : 8] == np.array(Image.open(path))).all()
    assert (sheet[:28, 264:272] == 255).all()  # the long caption ends with its column


def test_large_pictures_are_reduced_on_a_grid(tmp_path: Path) -> None:
    Image.new("RGB", (1024, 1024), (9, 9, 9)).save(tmp_path / "a.png")
    grid([("seven", tmp_path / "a.png", tmp_path / "a.png")], tmp_path / "grid.png")
    with Image.open(tmp_path / "grid.png") as sheet:
        assert sheet.width == 256 + 16


def test_the_same_pictures_give_the_same_bytes(pictures: list[Path], tmp_path: Path) -> None:
    for name in ("once.png", "again.png"):
        grid([("seven", pictures[0], pictures[1])], tmp_path / name)
    assert (tmp_path / "once.png").read_bytes() == (tmp_path / "again.png").read_bytes()
    assert b"tIME" not in (tmp_path / "once.png").read_bytes()

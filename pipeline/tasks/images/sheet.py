"""Pictures for people: the source's and the candidate's answers side by side, the same bytes every time."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from pipeline.files import write_atomically

SIDE = 256  # pixels that a picture measures at least on a sheet
GAP = 8  # pixels of paper between pictures and around them
LINE = 20  # pixels of height for a line of text
PAPER = (255, 255, 255)
INK = (32, 32, 32)


def grid(columns: Sequence[tuple[str, Path, Path]], to: Path, side: int = SIDE) -> None:
    """Write one PNG with a column for every prompt: its text, the source's picture, the candidate's picture.

    Args:
        columns: Prompt, the source's picture, the candidate's picture; at least one, all pictures of one size.
        to: The PNG to write.
        side: Pixels of a picture's shorter side: smaller ones grow by a whole factor, larger ones are reduced.
    """
    prompts, references, candidates = zip(*columns, strict=True)
    rows = [[_fitted(_read(path), side) for path in row] for row in (references, candidates)]
    _write(_sheet(rows, prompts, ["source", "candidate"]), to)


def beside(reference: Path, candidate: Path, to: Path, side: int = SIDE) -> None:
    """Write one PNG with the source's picture on the left and the candidate's on the right.

    Args:
        reference: The source's picture.
        candidate: The candidate's picture, of the same size.
        to: The PNG to write, such as a card's ``images/worst.png``.
        side: Pixels of a picture's shorter side: smaller ones grow by a whole factor, larger ones are reduced.
    """
    both = [_fitted(_read(path), side) for path in (reference, candidate)]
    _write(_sheet([both], ["source", "this model"], [""]), to)


def enlarged(picture: Image.Image, side: int) -> Image.Image:
    """Scale a picture up by the least whole factor that makes its shorter side ``side`` pixels or more."""
    factor = max(1, -(-side // min(picture.size)))
    return picture.resize((picture.width * factor, picture.height * factor), Image.Resampling.NEAREST)


def _fitted(picture: Image.Image, side: int) -> Image.Image:
    """Scale small pictures up by a whole factor and large ones down to ``side``."""
    if min(picture.size) <= side:
        return enlarged(picture, side)
    scale = side / min(picture.size)
    size = (round(picture.width * scale), round(picture.height * scale))
    return picture.resize(size, Image.Resampling.LANCZOS)


def _sheet(rows: Sequence[Sequence[Image.Image]], titles: Sequence[str], names: Sequence[str]) -> Image.Image:
    """Lay pictures of one size out in rows, titles above the columns, a row's name above each row."""
    width, height = rows[0][0].size
    across = GAP + len(rows[0]) * (width + GAP)
    sheet = Image.new("RGB", (across, GAP + LINE + len(rows) * (LINE + height + GAP)), PAPER)
    for column, title in enumerate(titles):
        _caption(sheet, title, (GAP + column * (width + GAP), GAP // 2), width)
    for row, pictures in enumerate(rows):
        top = GAP + LINE + row * (LINE + height + GAP)
        _caption(sheet, names[row], (GAP, top), width)
        for column, picture in enumerate(pictures):
            sheet.paste(picture, (GAP + column * (width + GAP), top + LINE))
    return sheet


def _caption(sheet: Image.Image, text: str, at: tuple[int, int], width: int) -> None:
    """Write one line in Pillow's own font, cut to a width in pixels."""
    font = ImageFont.load_default(size=13)
    words = text
    while words and font.getlength(words) > width:
        words = words.removesuffix("…")[:-1].rstrip() + "…"
        if words == "…":
            break
    ImageDraw.Draw(sheet).text(at, words, fill=INK, font=font)


def _read(path: Path) -> Image.Image:
    with Image.open(path) as image:
        return image.convert("RGB")


def _write(sheet: Image.Image, to: Path) -> None:
    """Write a PNG without metadata, so that the same pictures give the same bytes."""
    content = io.BytesIO()
    sheet.save(content, format="PNG", compress_level=9)
    write_atomically(to, content.getvalue())

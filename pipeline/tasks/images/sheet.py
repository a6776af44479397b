"""Pictures for people: the source's and the candidate's answer side by side, the same bytes every time."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.files import write_atomically

if TYPE_CHECKING:
    from PIL import Image

SIDE = 256  # pixels that a picture measures at least on a sheet
GAP = 8  # pixels of paper between pictures and around them
LINE = 20  # pixels of height for a line of text
PAPER = (255, 255, 255)
INK = (32, 32, 32)


def write_sheet(reference: Image.Image, candidate: Image.Image, to: Path, side: int = SIDE) -> None:
    """Write one PNG with the source's picture on the left and the candidate's on the right.

    Args:
        reference: The source's picture.
        candidate: The candidate's picture, of the same size.
        to: The PNG to write, such as a card's ``images/worst.png``. It has no metadata, so that the same pictures give
            the same bytes.
        side: Pixels of a picture's shorter side: smaller ones grow by a whole factor, larger ones are reduced.
    """
    from PIL import Image, ImageDraw, ImageFont

    pictures = [_fitted(picture, side) for picture in (reference, candidate)]
    width, height = pictures[0].size
    sheet = Image.new("RGB", (GAP + 2 * (width + GAP), LINE + height + 2 * GAP), PAPER)
    font = ImageFont.load_default(size=13)
    for column, (picture, title) in enumerate(zip(pictures, ("source", "this model"), strict=True)):
        left = GAP + column * (width + GAP)
        ImageDraw.Draw(sheet).text((left, GAP // 2), title, fill=INK, font=font)
        sheet.paste(picture, (left, GAP + LINE))
    content = io.BytesIO()
    sheet.save(content, format="PNG", compress_level=9)
    write_atomically(to, content.getvalue())


def _fitted(picture: Image.Image, side: int) -> Image.Image:
    """Scale small pictures up by a whole factor and large ones down to ``side``."""
    from PIL import Image

    if min(picture.size) <= side:
        factor = -(-side // min(picture.size))
        return picture.resize((picture.width * factor, picture.height * factor), Image.Resampling.NEAREST)
    scale = side / min(picture.size)
    size = (round(picture.width * scale), round(picture.height * scale))
    return picture.resize(size, Image.Resampling.LANCZOS)

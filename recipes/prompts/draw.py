"""Draws the pictures that the edits begin with; they are committed, and the same every time.

Usage: python recipes/prompts/draw.py
"""

from __future__ import annotations

from pathlib import Path

from PIL import Image, ImageDraw, ImageFilter

HERE = Path(__file__).parent / "pictures"
SIDE = 768
DRAWN = 2 * SIDE  # and halved, which smooths the edges

Colour = tuple[int, int, int]


def faded(above: Colour, below: Colour) -> Image.Image:
    """Return a picture that goes from one colour at its top to another at its foot."""
    column = Image.new("RGB", (1, DRAWN))
    for row in range(DRAWN):
        share = row / DRAWN
        column.putpixel((0, row), tuple(round(a + (b - a) * share) for a, b in zip(above, below, strict=True)))
    return column.resize((DRAWN, DRAWN))


def shaded(picture: Image.Image, box: tuple[int, int, int, int], colour: Colour) -> None:
    """Draw a round thing that is lit from the upper left."""
    left, top, right, foot = box
    pen = ImageDraw.Draw(picture)
    for step in range(60):
        share = step / 60
        inset_x, inset_y = (right - left) * share * 0.45, (foot - top) * share * 0.45
        light = tuple(min(255, round(value * (0.55 + 0.75 * share))) for value in colour)
        near, far = (left + inset_x * 0.6, top + inset_y * 0.6), (right - inset_x * 1.4, foot - inset_y * 1.4)
        pen.ellipse((near, far), fill=light)


def ball() -> Image.Image:
    """A red ball on a table."""
    picture = faded((226, 222, 214), (240, 236, 228))
    ImageDraw.Draw(picture).rectangle((0, 1000, DRAWN, DRAWN), fill=(150, 106, 70))
    ImageDraw.Draw(picture).ellipse((420, 1120, 900, 1200), fill=(96, 66, 42))
    shaded(picture, (400, 660, 880, 1140), (200, 40, 36))
    return picture


def sea() -> Image.Image:
    """Calm water under a clear sky."""
    picture = faded((120, 176, 226), (220, 234, 244))
    picture.paste(faded((52, 110, 148), (20, 58, 92)).crop((0, 0, DRAWN, 760)), (0, 776))
    pen = ImageDraw.Draw(picture)
    for number in range(90):
        left, row = number * 617 % DRAWN, 800 + number * 8
        pen.line((left, row, left + 60 + number * 2, row), fill=(120, 170, 196), width=3)
    return picture


def house() -> Image.Image:
    """A white house with a red roof on a meadow."""
    picture = faded((136, 190, 236), (232, 240, 246))
    pen = ImageDraw.Draw(picture)
    pen.rectangle((0, 1080, DRAWN, DRAWN), fill=(98, 148, 70))
    pen.rectangle((440, 700, 1100, 1160), fill=(244, 240, 230))
    pen.polygon(((380, 700), (770, 400), (1160, 700)), fill=(170, 58, 46))
    pen.rectangle((710, 900, 840, 1160), fill=(92, 60, 40))
    for left in (520, 920):
        pen.rectangle((left, 820, left + 110, 930), fill=(110, 150, 180), outline=(92, 60, 40), width=8)
    return picture


def sign() -> Image.Image:
    """An empty wooden sign before a brick wall."""
    picture = Image.new("RGB", (DRAWN, DRAWN), (186, 176, 166))
    pen = ImageDraw.Draw(picture)
    for row in range(24):
        for column in range(-1, 9):
            left = column * 190 + row % 2 * 95
            tone = 20 * ((row * 7 + column * 3) % 3)
            pen.rectangle((left + 5, row * 64 + 5, left + 185, row * 64 + 59), fill=(150 + tone, 74 + tone // 2, 56))
    pen.rectangle((740, 900, 796, DRAWN), fill=(88, 60, 38))
    pen.rectangle((360, 520, 1176, 940), fill=(214, 178, 128), outline=(88, 60, 38), width=18)
    return picture


def hills() -> Image.Image:
    """Three ridges of green hills."""
    picture = faded((150, 196, 232), (244, 236, 214))
    pen = ImageDraw.Draw(picture)
    for number, colour in enumerate(((138, 170, 130), (96, 144, 84), (62, 112, 52))):
        top = 640 + number * 220
        pen.ellipse((-700 + number * 320, top, 1100 + number * 320, top + 1500), fill=colour)
        pen.ellipse((500 - number * 260, top + 60, 2300 - number * 260, top + 1500), fill=colour)
    return picture


def vases() -> Image.Image:
    """Three vases of different colours on a shelf."""
    picture = faded((204, 210, 206), (228, 230, 226))
    ImageDraw.Draw(picture).rectangle((0, 1160, DRAWN, 1230), fill=(120, 84, 56))
    for left, colour in ((170, (58, 98, 150)), (600, (206, 156, 60)), (1030, (120, 70, 110))):
        ImageDraw.Draw(picture).rectangle((left + 110, 560, left + 220, 860), fill=colour)
        shaded(picture, (left, 760, left + 330, 1170), colour)
    return picture


def main() -> None:
    """Write them all."""
    HERE.mkdir(exist_ok=True)
    for draw in (ball, sea, house, sign, hills, vases):
        picture = draw().filter(ImageFilter.GaussianBlur(1)).resize((SIDE, SIDE), Image.Resampling.LANCZOS)
        picture.quantize(128).save(HERE / f"{draw.__name__}.png", optimize=True)


if __name__ == "__main__":
    main()

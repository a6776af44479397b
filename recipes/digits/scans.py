"""The data: scikit-learn's handwritten digits, what is said of each, and the pictures drawn from them.

A scan is an 8 x 8 array of ink from 0 to 16. Its caption names the digit, two traits that are measured on the scan
itself (stroke weight and slant, each against the other scans of the same digit) and the ink colour it is drawn in.
"""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from sklearn.datasets import load_digits

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]

SCAN = 8
SIDE = 32
MARGIN = 4
"""Paper around the scan, in pixels: the scan fills the central 24 x 24 of a 32 x 32 picture."""

DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
WEIGHTS = ("thin", "medium", "bold")
SLANTS = ("backslanted", "upright", "slanted")
INKS = {
    "black": (24, 24, 24),
    "red": (214, 40, 40),
    "orange": (244, 134, 24),
    "green": (32, 142, 62),
    "blue": (32, 84, 214),
    "purple": (132, 48, 172),
}
COLOURS = tuple(INKS)
PAPER = (255, 255, 255)


@dataclass(frozen=True)
class Style:
    """What a caption says of a digit, as indices into the word lists above."""

    digit: int
    weight: int
    slant: int
    colour: int

    @property
    def caption(self) -> str:
        return f"a {WEIGHTS[self.weight]} {SLANTS[self.slant]} {COLOURS[self.colour]} {DIGITS[self.digit]}"


@dataclass(frozen=True)
class Scans:
    """Scans (n, 8, 8) with the digit, the weight and the slant of each, as indices."""

    ink: Floats
    digits: Ints
    weights: Ints
    slants: Ints

    def __len__(self) -> int:
        return len(self.ink)

    def at(self, rows: Ints) -> "Scans":
        return Scans(self.ink[rows], self.digits[rows], self.weights[rows], self.slants[rows])

    def style(self, row: int, colour: int) -> Style:
        return Style(int(self.digits[row]), int(self.weights[row]), int(self.slants[row]), colour)


def weight_of(scans: Floats) -> Floats:
    """Mean ink of each scan (n, 8, 8), from 0 to 16."""
    return scans.mean(axis=(1, 2))


def slant_of(scans: Floats) -> Floats:
    """How far each scan (n, 8, 8) leans right, in columns a row: the shear that its second moments show."""
    rows, columns = np.mgrid[0 : scans.shape[1], 0 : scans.shape[2]].astype(np.float32)
    mass = scans.sum(axis=(1, 2), keepdims=True) + 1e-6
    across = columns - (scans * columns).sum(axis=(1, 2), keepdims=True) / mass
    down = rows - (scans * rows).sum(axis=(1, 2), keepdims=True) / mass
    spread = (scans * down * down).sum(axis=(1, 2)) + 1e-6
    return -(scans * across * down).sum(axis=(1, 2)) / spread


def load() -> tuple[Scans, Scans]:
    """The 1,797 scans as (training, held out): every sixth is held out and never trained on.

    Weight and slant are thirds among the scans of the same digit, because a one has less ink than an eight
    and a seven leans by its shape, not by its writer's hand.
    """
    raw = load_digits()
    ink, digits = raw.images.astype(np.float32), raw.target.astype(np.int64)
    scans = Scans(ink, digits, _thirds(weight_of(ink), digits), _thirds(slant_of(ink), digits))
    rows = np.arange(len(ink))
    return scans.at(rows[rows % 6 != 0]), scans.at(rows[rows % 6 == 0])


def _thirds(values: Floats, digits: Ints) -> Ints:
    """0, 1 or 2: the third of its own digit's values that each value falls into."""
    thirds = np.zeros(len(values), dtype=np.int64)
    for digit in range(len(DIGITS)):
        rows = np.flatnonzero(digits == digit)
        order = rows[np.argsort(values[rows], kind="stable")]
        thirds[order] = np.arange(len(rows)) * 3 // len(rows)
    return thirds


def paint(scan: Floats, colour: int) -> Image.Image:
    """The scan (8, 8) as a 32 x 32 picture: smooth strokes of coloured ink on white paper."""
    inside = SIDE - 2 * MARGIN
    smooth = np.asarray(Image.fromarray(scan / 16).resize((inside, inside), Image.Resampling.BICUBIC))
    # Steeper than the scan's own greys: strokes of a pen, not of a blurred brush.
    ink = np.pad(np.clip((smooth - 0.5) * 1.5 + 0.5, 0, 1), MARGIN)[..., None]
    pixels = ink * np.array(INKS[COLOURS[colour]]) + (1 - ink) * np.array(PAPER)
    return Image.fromarray(pixels.round().astype(np.uint8))


def evaluation_styles(count: int) -> list[Style]:
    """The first `count` styles of a fixed walk over digits, weights, slants and colours, digits in turn."""
    steps = [index * 11 % (3 * 3 * len(COLOURS)) for index in range(count)]
    return [Style(index % 10, step % 3, step // 3 % 3, step // 9) for index, step in enumerate(steps)]


def write_prompts(path: Path, count: int) -> None:
    """One JSON object a line: the prompt and, as a string, the digit that the picture must show."""
    lines = [json.dumps({"prompt": style.caption, "label": str(style.digit)}) for style in evaluation_styles(count)]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")

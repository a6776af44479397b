"""Another reader of digits than the recipe's classifier: a support vector machine, fitted to raw scans."""

from functools import cache

import numpy as np
from PIL import Image
from scans import MARGIN, SCAN, SIDE, load
from sklearn.svm import SVC


def read_digits(pictures: list[Image.Image]) -> list[int]:
    """The digit that each picture shows. The machine has seen no picture, painted or generated."""
    return [int(digit) for digit in _machine().predict([scan_of(picture).ravel() for picture in pictures])]


def scan_of(picture: Image.Image) -> np.ndarray:
    """A picture as a scan: 8 x 8 cells of ink from 0 to 16, each the mean over its area.

    Ink is the largest difference, over the colour channels, from the paper, which is the median of the picture's
    border; the strongest ink of the picture counts as full, whatever its colour.
    """
    pixels = np.asarray(picture.convert("RGB"), dtype=np.float32)
    border = np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]])
    ink = np.abs(pixels - np.median(border, axis=0)).max(axis=2)
    full = max(float(np.percentile(ink, 98)), 1.0)
    relative = np.minimum(ink / full, 1).astype(np.float32)
    box = (MARGIN, MARGIN, SIDE - MARGIN, SIDE - MARGIN)
    return 16 * np.asarray(Image.fromarray(relative).resize((SCAN, SCAN), Image.Resampling.BOX, box=box))


@cache
def _machine() -> SVC:
    training, _ = load()
    return SVC(C=10, gamma=0.001).fit(training.ink.reshape(len(training), -1), training.digits)

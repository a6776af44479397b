"""Which digit a picture shows: a reader of real scans, made for judging pictures that claim to be digits."""

from functools import cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scans import MARGIN, SCAN, SIDE, load
from sklearn.svm import SVC


def read_digits(pictures: list[Image.Image]) -> list[int]:
    """The digit that each picture shows, read by a support vector machine fitted to real 8 x 8 scans.

    It is fitted on first use, to the raw scans of the training part: it has seen no picture, painted or generated.
    """
    if not pictures:
        return []
    flat = np.stack([scan_of(picture) for picture in pictures]).reshape(len(pictures), -1)
    return [int(digit) for digit in _reader().predict(flat)]


def scan_of(picture: Image.Image) -> NDArray[np.float32]:
    """The picture as a scan: 8 x 8 cells of ink from 0 to 16, each the mean over its area.

    Ink is the largest difference, over the colour channels, from the paper, which is the median of the picture's
    border; the strongest ink of the picture counts as full, whatever its colour.
    """
    pixels = np.asarray(picture.convert("RGB"), dtype=np.float32)
    border = np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]])
    ink = np.abs(pixels - np.median(border, axis=0)).max(axis=2)
    full = max(float(np.percentile(ink, 98)), 1.0)
    edge_x, edge_y = picture.width * MARGIN / SIDE, picture.height * MARGIN / SIDE
    box = (edge_x, edge_y, picture.width - edge_x, picture.height - edge_y)
    cells = Image.fromarray(np.minimum(ink / full, 1)).resize((SCAN, SCAN), Image.Resampling.BOX, box=box)
    return 16 * np.asarray(cells, dtype=np.float32)


@cache
def _reader() -> SVC:
    scans, _ = load()
    return SVC(C=10, gamma=0.001).fit(scans.ink.reshape(len(scans), -1), scans.digits)

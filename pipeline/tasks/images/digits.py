"""Which digit does a picture show: the reading behind ``label_accuracy``."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

from PIL import Image

from pipeline.errors import CannotHereError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

SCAN = 8  # rows and columns of a scan, whose ink runs from 0 to 16
MARGIN = 1 / 8  # of a side: the paper that the recipe `digits` leaves around its digits
HELD_OUT = 6  # every sixth scan is held out of the training of source and reader alike, to measure the reader on


def read_digits(pictures: Sequence[Image.Image]) -> list[int]:
    """Return the digit that each picture shows, 0 to 9, as a support vector machine sees it.

    The machine is fitted on first use to handwritten scans that scikit-learn carries in its package
    (``sklearn.datasets.load_digits``; Alpaydin and Kaynak, UCI, 1998). It has seen no picture, painted or generated.

    Raises:
        CannotHereError: scikit-learn is not installed.
    """
    if not pictures:
        return []
    return [int(digit) for digit in _reader().predict([scan_of(picture).ravel() for picture in pictures])]


def scan_of(picture: Image.Image) -> NDArray[np.float32]:
    """Return a picture as a scan: 8 x 8 cells of ink from 0 to 16, each the mean over its area.

    Ink is the largest difference, over the colour channels, from the paper, which is the median of the picture's
    border; the strongest ink of the picture counts as full, whatever its colour.
    """
    import numpy as np

    pixels = np.asarray(picture.convert("RGB"), dtype=np.float32)
    border = np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]])
    ink = np.abs(pixels - np.median(border, axis=0)).max(axis=2)
    full = max(float(np.percentile(ink, 98)), 1.0)
    across, down = picture.width * MARGIN, picture.height * MARGIN
    box = (across, down, picture.width - across, picture.height - down)
    relative = np.minimum(ink / full, 1).astype(np.float32)
    cells = Image.fromarray(relative).resize((SCAN, SCAN), Image.Resampling.BOX, box=box)
    return 16 * np.asarray(cells, dtype=np.float32)


@cache
def _reader() -> Any:
    """Fit the reader; the same scans and parameters always give the same one."""
    import numpy as np

    try:
        from sklearn.datasets import load_digits
        from sklearn.svm import SVC
    except ImportError as error:
        raise CannotHereError(
            "Reading digits for label_accuracy needs scikit-learn.", remedy="Run: pip install 'quantpress[digits]'"
        ) from error
    scans = load_digits()
    kept = np.arange(len(scans.target)) % HELD_OUT != 0
    return SVC(C=10, gamma=0.001).fit(scans.data[kept], scans.target[kept])

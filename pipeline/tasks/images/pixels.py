"""Metrics of pixels: how far the candidate's picture is from the source's, value by value or window by window."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from pipeline.tasks.metrics import (
    MetricInput,
    PairMetric,
    Reading,
    half_the_decibels,
    least_likeness,
)

if TYPE_CHECKING:
    from PIL import Image

IDENTICAL_PSNR = 60.0
"""Decibels that stand for identical pictures, whose PSNR is infinite; nothing is recorded as more than this.

At 60 dB values differ by a quarter of a level of 255 (root mean square): what the cap levels is beyond seeing, and a
picture that is the same does not lift a mean over one that is ruined.
"""
SSIM_WINDOW = 11  # pixels; the width of torchmetrics' Gaussian window
EXACT = 64 * 64  # pixels, up to which float64 costs nothing
MS_SSIM_SIDE = 16 * SSIM_WINDOW  # pixels; the window must fit after the picture was halved four times


def _psnr(given: MetricInput) -> list[Reading]:
    """Peak signal-to-noise ratio for a peak of 255, over all channels (torchmetrics), at most ``IDENTICAL_PSNR``."""
    from torchmetrics.functional.image import peak_signal_noise_ratio

    return [Reading(min(decibels, IDENTICAL_PSNR)) for decibels in _each(peak_signal_noise_ratio, given)]


def _ssim(given: MetricInput) -> list[Reading]:
    """Structural similarity with a Gaussian window (Wang et al., 2004; torchmetrics), 1 for identical pictures."""
    from torchmetrics.functional.image import structural_similarity_index_measure

    return [Reading(likeness) for likeness in _each(structural_similarity_index_measure, given)]


def _ms_ssim(given: MetricInput) -> list[Reading]:
    """Structural similarity over five scales (Wang, Simoncelli and Bovik, 2003; torchmetrics), 1 for identical ones.

    Never over fewer scales: with other weights it would be another number under the same name.
    """
    from torchmetrics.functional.image import multiscale_structural_similarity_index_measure

    return [Reading(likeness) for likeness in _each(multiscale_structural_similarity_index_measure, given)]


def _each(measure: Callable[..., Any], given: MetricInput) -> Iterator[float]:
    """Give what a function of torchmetrics says of each pair; one pair at a time is in memory as numbers."""
    for pair in given.pairs:
        yield float(measure(_tensor(pair.candidate), _tensor(pair.reference), data_range=255.0))


def _tensor(picture: Image.Image) -> Any:
    """Return a picture as values from 0 to 255, shape (1, 3, height, width).

    SSIM subtracts squares of means, and float32 is off by up to 1e-3 where a picture is even, else by 3e-6. Small
    pictures are taken in float64; for large ones torch is 13 times as slow in it, 12 seconds for a pair of 1024 x 1024.
    """
    import numpy as np
    import torch

    values = torch.from_numpy(np.array(picture)).permute(2, 0, 1).unsqueeze(0)
    return values.double() if picture.width * picture.height <= EXACT else values.float()


def lacks_room(given: MetricInput, side: int) -> str:
    """Return what is missing where a metric needs pictures of so many pixels a side."""
    least = min(min(pair.reference.size) for pair in given.pairs)
    return "" if least >= side else f"pictures of {side} pixels or more a side, not {least}"


PSNR = PairMetric("dB", "higher", _psnr, ends=(0.0, IDENTICAL_PSNR), tail=half_the_decibels)
SSIM = PairMetric(
    "", "higher", _ssim, lambda given: lacks_room(given, SSIM_WINDOW), ends=(-1.0, 1.0), tail=least_likeness
)
MS_SSIM = PairMetric(
    "", "higher", _ms_ssim, lambda given: lacks_room(given, MS_SSIM_SIDE), ends=(-1.0, 1.0), tail=least_likeness
)

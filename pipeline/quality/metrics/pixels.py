"""Metrics of pixels: how far the candidate's picture is from the source's, value by value or window by window."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pipeline.quality.metrics.protocol import Given, Pair, PairMetric, Read, Reading

if TYPE_CHECKING:
    from PIL import Image

IDENTICAL_PSNR = 100.0
"""Decibels that stand for identical pictures, whose PSNR is infinite; nothing is recorded as more than this.

Two 8-bit pictures of 32 x 32 that differ in a single value by a single level have 83 dB, of 1024 x 1024 113 dB: what
the cap levels is beyond seeing, and a mean over pairs stays finite.
"""
SSIM_WINDOW = 11  # pixels; the width of torchmetrics' Gaussian window


def _tensor(picture: Image.Image) -> Any:
    """Return a picture as values from 0 to 255, shape (1, 3, height, width).

    In float64: SSIM subtracts squares of means, and float32 is off by 2e-4 where a picture is even.
    """
    import numpy as np
    import torch

    return torch.from_numpy(np.array(picture)).permute(2, 0, 1).unsqueeze(0).double()


def _psnr(_: Given) -> Read:
    """Peak signal-to-noise ratio for a peak of 255, over all channels (torchmetrics), at most ``IDENTICAL_PSNR``."""
    from torchmetrics.functional.image import peak_signal_noise_ratio

    def read(pair: Pair) -> Reading:
        decibels = peak_signal_noise_ratio(_tensor(pair.candidate), _tensor(pair.reference), data_range=255.0)
        return Reading(min(float(decibels), IDENTICAL_PSNR))

    return read


def _ssim(_: Given) -> Read:
    """Structural similarity with a Gaussian window (Wang et al., 2004; torchmetrics), 1 for identical pictures."""
    from torchmetrics.functional.image import structural_similarity_index_measure

    def read(pair: Pair) -> Reading:
        likeness = structural_similarity_index_measure(
            _tensor(pair.candidate), _tensor(pair.reference), data_range=255.0
        )
        return Reading(float(likeness))

    return read


def _lacks_room(given: Given) -> str:
    side = min(min(pair.reference.size) for pair in given.pairs)
    return "" if side >= SSIM_WINDOW else f"pictures of {SSIM_WINDOW} pixels or more a side, not {side}"


PSNR = PairMetric("dB", "higher", _psnr)
SSIM = PairMetric("", "higher", _ssim, _lacks_room)

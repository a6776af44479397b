"""The metrics: what each needs, its unit, which way is better, and how it reads a pair of pictures."""

from __future__ import annotations

from pipeline.quality.metrics.clip import CLIP_SCORE
from pipeline.quality.metrics.costs import SIZE_RATIO
from pipeline.quality.metrics.labels import LABEL_ACCURACY
from pipeline.quality.metrics.pixels import IDENTICAL_PSNR, PSNR, SSIM
from pipeline.quality.metrics.protocol import Given, Measured, Metric, Pair, Reading, Sizes

__all__ = ["IDENTICAL_PSNR", "METRICS", "Given", "Measured", "Metric", "Pair", "Reading", "Sizes"]

METRICS: dict[str, Metric] = {
    "psnr": PSNR,
    "ssim": SSIM,
    "clip_score": CLIP_SCORE,
    "label_accuracy": LABEL_ACCURACY,
    "size_ratio": SIZE_RATIO,
}

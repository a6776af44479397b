"""The metrics: what each needs, its unit, which way is better, and how it reads a pair of pictures."""

from __future__ import annotations

from pipeline.validate.metrics.costs import LATENCY, LOAD_TIME, PEAK_DEVICE_MEMORY, PEAK_MEMORY, SIZE_RATIO
from pipeline.validate.metrics.labels import LABEL_ACCURACY
from pipeline.validate.metrics.latents import LATENT_COSINE
from pipeline.validate.metrics.likeness import CLIP_SCORE, CLIP_SIMILARITY, DINO_SIMILARITY
from pipeline.validate.metrics.lpips import LPIPS
from pipeline.validate.metrics.pixels import IDENTICAL_PSNR, MS_SSIM, PSNR, SSIM
from pipeline.validate.metrics.protocol import Measured, Metric, MetricInput, Pair, Reading, Sizes

__all__ = ["IDENTICAL_PSNR", "METRICS", "Measured", "Metric", "MetricInput", "Pair", "Reading", "Sizes"]

METRICS: dict[str, Metric] = {
    "psnr": PSNR,
    "ssim": SSIM,
    "ms_ssim": MS_SSIM,
    "lpips": LPIPS,
    "clip_similarity": CLIP_SIMILARITY,
    "dino_similarity": DINO_SIMILARITY,
    "latent_cosine": LATENT_COSINE,
    "clip_score": CLIP_SCORE,
    "label_accuracy": LABEL_ACCURACY,
    "size_ratio": SIZE_RATIO,
    "load_time": LOAD_TIME,
    "latency": LATENCY,
    "peak_memory": PEAK_MEMORY,
    "peak_device_memory": PEAK_DEVICE_MEMORY,
}

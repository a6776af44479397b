"""The metrics: what each needs, its unit, which way is better, and how it reads a pair of pictures."""

from __future__ import annotations

from pipeline.tasks.costs import LATENCY, LOAD_TIME, PEAK_DEVICE_MEMORY, PEAK_MEMORY, SIZE_RATIO
from pipeline.tasks.images.labels import LABEL_ACCURACY
from pipeline.tasks.images.latents import LATENT_COSINE
from pipeline.tasks.images.likeness import CLIP_SCORE, CLIP_SIMILARITY, DINO_SIMILARITY
from pipeline.tasks.images.lpips import LPIPS
from pipeline.tasks.images.pixels import IDENTICAL_PSNR, MS_SSIM, PSNR, SSIM
from pipeline.tasks.metrics import Measured, Metric, MetricInput, Pair, Reading, Sizes

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

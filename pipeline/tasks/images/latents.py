"""How alike the latents are that both sides decoded: what came out of sampling, before the VAE made a picture of it."""

from __future__ import annotations

from pathlib import Path

from pipeline.tasks.metrics import MetricInput, PairMetric, Reading, least_likeness


def latent_cosine(own: Path, other: Path) -> float:
    """Return the cosine of two arrays of latents.

    Args:
        own: The source's (``.npy``, any shape).
        other: The candidate's.

    Returns:
        0 where they have nothing to compare: other shapes, no numbers, or nothing but zeros.
    """
    import numpy as np

    one, two = (np.load(path, allow_pickle=False).astype(np.float64) for path in (own, other))
    if one.shape != two.shape or not (np.isfinite(one).all() and np.isfinite(two).all()):
        return 0.0
    lengths = float(np.linalg.norm(one) * np.linalg.norm(two))
    return min(max(float(np.vdot(one, two)) / lengths, -1.0), 1.0) if lengths else 0.0


def _latent_cosine(given: MetricInput) -> list[Reading]:
    return [Reading(latent_cosine(*pair.besides["latents"])) for pair in given.pairs]


def _lacks_latents(given: MetricInput) -> str:
    return "" if all("latents" in pair.besides for pair in given.pairs) else "pipelines that let their latents be seen"


LATENT_COSINE = PairMetric("", "higher", _latent_cosine, _lacks_latents, ends=(-1.0, 1.0), tail=least_likeness)

"""What models that look at pictures say: how well a picture fits its prompt, and how alike two pictures are."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.tasks.images.embedders import ImageEmbedder, cosine, open_clip, open_dino
from pipeline.tasks.metrics import MetricInput, PairMetric, Reading, least_likeness

if TYPE_CHECKING:
    from PIL import Image


def _clip_score(given: MetricInput) -> list[Reading]:
    """CLIP score of prompt and picture, ``100 * max(cos, 0)``, for the candidate's picture and the source's.

    Hessel et al., 2021, https://arxiv.org/abs/2104.08718, scaled as torchmetrics' ``CLIPScore`` scales it. That class
    itself (1.9) accepts three publishers' names and no folder, and takes the model's features for tensors, which
    transformers 5 returns inside a model output.
    """
    clip = open_clip(given.judges["clip_score"])

    def score(prompt: str, picture: Image.Image) -> float:
        return 100 * max(cosine(clip.prompt(prompt), clip.picture(picture)), 0.0)

    return [Reading(score(pair.prompt, pair.candidate), score(pair.prompt, pair.reference)) for pair in given.pairs]


def _clip_similarity(given: MetricInput) -> list[Reading]:
    """Cosine of the CLIP embeddings of both pictures: whether they show the same things."""
    return _similarity(open_clip(_clip_of(given) or Path()).picture, given)


def _dino_similarity(given: MetricInput) -> list[Reading]:
    """Cosine of the DINOv2 embeddings of both pictures: whether they show the same things in the same way.

    Oquab et al., 2023, https://arxiv.org/abs/2304.07193; as the metric DINO-I of Ruiz et al., 2022,
    https://arxiv.org/abs/2208.12242, which took the first DINO.
    """
    return _similarity(open_dino(given.judges["dino_similarity"]), given)


def _similarity(look: ImageEmbedder, given: MetricInput) -> list[Reading]:
    return [Reading(cosine(look(pair.candidate), look(pair.reference))) for pair in given.pairs]


def _clip_of(given: MetricInput) -> Path | None:
    """Return the folder of the CLIP model that compares pictures: its own, else the one that scores them."""
    return given.judges.get("clip_similarity", given.judges.get("clip_score"))


def _lacks(given: MetricInput, metric: str, called: str) -> str:
    return "" if metric in given.judges else f"a {called} model, named under {metric}.model"


CLIP_SCORE = PairMetric(
    "points", "higher", _clip_score, lambda given: _lacks(given, "clip_score", "CLIP"), ends=(0.0, 100.0)
)
CLIP_SIMILARITY = PairMetric(
    "",
    "higher",
    _clip_similarity,
    lambda given: "" if _clip_of(given) else _lacks(given, "clip_similarity", "CLIP"),
    ends=(-1.0, 1.0),
    tail=least_likeness,
)
DINO_SIMILARITY = PairMetric(
    "",
    "higher",
    _dino_similarity,
    lambda given: _lacks(given, "dino_similarity", "DINOv2"),
    ends=(-1.0, 1.0),
    tail=least_likeness,
)

"""The CLIP score of a picture and its prompt (Hessel et al., 2021, https://arxiv.org/abs/2104.08718)."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

from PIL import Image

from pipeline.errors import RecipeError
from pipeline.quality.metrics.protocol import Given, PairMetric, Read, Reading

Score = Callable[[str, Image.Image], float]


def clip_scorer(model: Path) -> Score:
    """Return a function from a prompt and a picture to ``100 * max(cos, 0)`` of their CLIP embeddings.

    The definition is that of torchmetrics' ``CLIPScore``. That class itself (1.9) accepts three publishers' names and
    no folder, and takes the model's features for tensors, which transformers 5 returns inside a model output.

    Args:
        model: A folder with a CLIP model and its processor, as ``openai/clip-vit-large-patch14`` has them.

    Raises:
        RecipeError: There is no CLIP model in the folder.
    """
    clip, processor = _open(model)
    features = cache(lambda prompt: _text_features(clip, processor, prompt))  # one prompt has many pictures

    def score(prompt: str, picture: Image.Image) -> float:
        cosine = float((features(prompt) * _picture_features(clip, processor, picture)).sum())
        return 100 * max(cosine, 0.0)

    return score


def _open(model: Path) -> tuple[Any, Any]:
    """Load the model in float32: its own rounding has no place in the comparison."""
    import torch
    from transformers import CLIPModel, CLIPProcessor

    try:
        clip = CLIPModel.from_pretrained(model, dtype=torch.float32, local_files_only=True).eval()
        return clip, CLIPProcessor.from_pretrained(model, local_files_only=True)
    except (OSError, ValueError, KeyError) as error:
        raise RecipeError(
            f"The CLIP model that clip_score names cannot be loaded: {error}",
            where=str(model),
            remedy="Name a CLIP model with its processor under validation.require.clip_score.model.",
        ) from error


def _text_features(clip: Any, processor: Any, prompt: str) -> Any:
    """Embed a prompt, cut to the model's length, as a unit vector."""
    import torch

    length = clip.config.text_config.max_position_embeddings
    inputs = processor(text=[prompt], return_tensors="pt", truncation=True, max_length=length)
    with torch.inference_mode():
        return _unit(clip.get_text_features(**inputs))


def _picture_features(clip: Any, processor: Any, picture: Image.Image) -> Any:
    """Embed a picture as a unit vector."""
    import torch

    with torch.inference_mode():
        return _unit(clip.get_image_features(**processor(images=[picture.convert("RGB")], return_tensors="pt")))


def _unit(output: Any) -> Any:
    """Scale an embedding to length 1. transformers 5 returns it as ``pooler_output``."""
    vector = output.pooler_output[0]
    return vector / vector.norm()


def _clip_score(given: Given) -> Read:
    """CLIP score of prompt and picture, for the source's picture and the candidate's."""
    score = clip_scorer(given.judges["clip_score"])
    return lambda pair: Reading(score(pair.prompt, pair.candidate), score(pair.prompt, pair.reference))


def _lacks_clip(given: Given) -> str:
    return "" if "clip_score" in given.judges else "a CLIP model, named under clip_score.model"


CLIP_SCORE = PairMetric("points", "higher", _clip_score, _lacks_clip)

"""What a recipe may require of pictures, and what measures it."""

from __future__ import annotations

from typing import Annotated

from pydantic import ConfigDict, Field, ValidationInfo, field_validator, model_validator

from pipeline.recipe import names
from pipeline.recipe.clause import Commit, RecipeModel, optional
from pipeline.recipe.require import (
    JUDGE_COMMIT_MEANS,
    JUDGE_MEANS,
    SIZE_RATIO_MEANS,
    DropAtMost,
    Judge,
    Judged,
    Likeness,
    RatioAtMost,
    Requirements,
    ShareDropAtMost,
    commit_of,
)
from pipeline.tasks.images.labels import LABEL_ACCURACY
from pipeline.tasks.images.latents import LATENT_COSINE
from pipeline.tasks.images.likeness import CLIP_SCORE, CLIP_SIMILARITY, DINO_SIMILARITY
from pipeline.tasks.images.lpips import LPIPS
from pipeline.tasks.images.pixels import MS_SSIM, PSNR, SSIM

LIKENESS_MEANS = "The least mean over all images that passes."
WORST_MEANS = "What the worst image must keep; unless said, half of the mean's decibels, {}."
WORST_LIKENESS_MEANS = WORST_MEANS.format("1 - sqrt(1 - min)")


class AtLeast(RecipeModel):
    """A lower bound of an image similarity in decibels."""

    min: float = Field(ge=0, le=60, description="The least mean over all images that passes, in decibels.")
    worst: Annotated[float, Field(ge=0, le=60)] | None = optional(WORST_MEANS.format("min / 2"))


class SimilarityAtLeast(RecipeModel):
    """A lower bound of a similarity that is 1 for the same images."""

    min: Likeness = Field(description=LIKENESS_MEANS)
    worst: Likeness | None = optional(WORST_LIKENESS_MEANS)


class DistanceAtMost(RecipeModel):
    """An upper bound of a distance that is 0 for the same images."""

    max: float = Field(ge=0, le=10, description="The greatest mean over all images that passes.")
    worst: Annotated[float, Field(ge=0, le=10)] | None = optional(WORST_MEANS.format("the square root of max"))


class ClipScore(Judged):
    """A bound of the CLIP score against the source's, with the model that judges."""

    drop: DropAtMost = Field(description="How far the score may drop.")


class DinoSimilarity(SimilarityAtLeast, Judged):
    """A lower bound of a similarity in the eyes of a DINOv2 model."""


class ClipSimilarity(RecipeModel):
    """A lower bound of a similarity in the eyes of a CLIP model."""

    model: Judge | None = optional(f"The judging model, else the one of clip_score: {JUDGE_MEANS}")
    revision: Commit | None = optional(JUDGE_COMMIT_MEANS)
    min: Likeness = Field(description=LIKENESS_MEANS)
    worst: Likeness | None = optional(WORST_LIKENESS_MEANS)

    @field_validator("revision")
    @classmethod
    def _is_commit_of_a_repository(cls, text: str | None, info: ValidationInfo) -> str | None:
        model = info.data.get("model", "")
        if text is not None and model is None:
            raise names.UnfitError("a revision of no model; name the model, or remove this key")
        return commit_of(model, text)


class LabelAccuracy(Judged):
    """Bounds of a share that a classifier reads as asked: what it is, how far it drops, or both."""

    model_config = ConfigDict(json_schema_extra={"anyOf": [{"required": ["min"]}, {"required": ["drop"]}]})

    min: Annotated[float, Field(ge=0, le=1)] | None = optional("The least share that passes.")
    drop: ShareDropAtMost | None = optional("How far the share may drop.")

    @model_validator(mode="after")
    def _has_one(self) -> LabelAccuracy:
        if self.min is None and self.drop is None:
            raise names.UnfitError("nothing is required of it; write min or drop")
        return self


class Require(Requirements):
    """What a target must reach to be published; at least one requirement."""

    psnr: Annotated[AtLeast | None, PSNR] = optional("Peak signal-to-noise ratio against the source's images.")
    ssim: Annotated[SimilarityAtLeast | None, SSIM] = optional("Structural similarity to the source's images.")
    ms_ssim: Annotated[SimilarityAtLeast | None, MS_SSIM] = optional(
        "Structural similarity to the source's images over five scales; from 176 pixels a side."
    )
    lpips: Annotated[DistanceAtMost | None, LPIPS] = optional(
        "How different from the source's the images look to LPIPS; where torchvision and its AlexNet are."
    )
    clip_similarity: Annotated[ClipSimilarity | None, CLIP_SIMILARITY] = optional(
        "How like the source's images a CLIP model finds them."
    )
    dino_similarity: Annotated[DinoSimilarity | None, DINO_SIMILARITY] = optional(
        "How like the source's images a DINOv2 model finds them."
    )
    latent_cosine: Annotated[SimilarityAtLeast | None, LATENT_COSINE] = optional(
        "Cosine of what both decode into images."
    )
    clip_score: Annotated[ClipScore | None, CLIP_SCORE] = optional(
        "How well the images fit their prompts, against the source's."
    )
    label_accuracy: Annotated[LabelAccuracy | None, LABEL_ACCURACY] = optional(
        "Share of images in which an image classifier sees what their prompt's label says."
    )
    size_ratio: RatioAtMost | None = optional(SIZE_RATIO_MEANS)

    @model_validator(mode="after")
    def _has_a_clip_model(self) -> Require:
        if self.clip_similarity and not self.clip_similarity.model and not self.clip_score:
            raise names.UnfitError("clip_similarity has no model; name one there, or require clip_score with one")
        return self

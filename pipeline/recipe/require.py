"""What a recipe may require of its targets: a clause for each metric."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, ConfigDict, Field, ValidationInfo, field_validator, model_validator

from pipeline.recipe import names
from pipeline.recipe.clause import Commit, RecipeModel, optional

Likeness = Annotated[float, Field(ge=-1, le=1)]
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


class RatioAtMost(RecipeModel):
    """An upper bound of a ratio."""

    max: float = Field(gt=0, description="The greatest ratio that passes.")


class DropAtMost(RecipeModel):
    """An upper bound of a loss against the source."""

    max: float = Field(ge=0, le=100, description="How far the target's mean may lie below the source's.")
    worst: Annotated[float, Field(ge=0, le=100)] | None = optional("How far a single image may lie below the source's.")


class ShareDropAtMost(RecipeModel):
    """An upper bound of a loss of a share against the source's."""

    max: float = Field(ge=0, le=1, description="How far the target's share may lie below the source's.")


class Share(RecipeModel):
    """Bounds of a share: what it is, how far it drops, or both."""

    model_config = ConfigDict(json_schema_extra={"minProperties": 1})

    min: Annotated[float, Field(ge=0, le=1)] | None = optional("The least share that passes.")
    drop: ShareDropAtMost | None = optional("How far the share may drop.")

    @model_validator(mode="after")
    def _has_one(self) -> Share:
        if self.min is None and self.drop is None:
            raise names.UnfitError("nothing is required of it; write min or drop")
        return self


Judge = Annotated[str, AfterValidator(names.model)]
JUDGE_MEANS = "`namespace/name` on the Hub, or a folder that begins with `./`, `../` or `/`."
JUDGE_COMMIT_MEANS = "The judging model's commit on the Hub: 40 hex digits."


class Judged(RecipeModel):
    """A bound on what a model says of the images."""

    model: Judge = Field(description=f"The judging model: {JUDGE_MEANS}")
    revision: Commit | None = optional(JUDGE_COMMIT_MEANS)

    @field_validator("revision")
    @classmethod
    def _is_commit_of_a_repository(cls, text: str | None, info: ValidationInfo) -> str | None:
        return _commit_of(info.data.get("model", ""), text)


class ClipScore(Judged):
    """A bound of the CLIP score against the source's, with the model that judges."""

    drop: DropAtMost = Field(description="How far the score may drop.")


class DinoSimilarity(Judged):
    """A lower bound of a similarity in the eyes of a DINOv2 model."""

    min: Likeness = Field(description=LIKENESS_MEANS)
    worst: Likeness | None = optional(WORST_LIKENESS_MEANS)


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
        return _commit_of(model, text)


def _commit_of(model: str, text: str | None) -> str | None:
    """Return a judging model's commit, which only one on the Hub has."""
    if text is not None and names.is_path(model):
        raise names.UnfitError("a folder has no revision; remove this key")
    return text if text is None else names.commit(text, model)


class Require(RecipeModel):
    """What a target must reach to be published; at least one requirement."""

    model_config = ConfigDict(json_schema_extra={"minProperties": 1})
    strays = dict.fromkeys(
        ("load_time", "latency", "peak_memory", "peak_device_memory"),
        "measured and reported, and never required: the machine's load is in it; remove this key",
    )

    psnr: AtLeast | None = optional("Peak signal-to-noise ratio against the source's images.")
    ssim: SimilarityAtLeast | None = optional("Structural similarity to the source's images.")
    ms_ssim: SimilarityAtLeast | None = optional(
        "Structural similarity to the source's images over five scales; from 176 pixels a side."
    )
    lpips: DistanceAtMost | None = optional(
        "How different from the source's the images look to LPIPS; where torchvision and its AlexNet are."
    )
    clip_similarity: ClipSimilarity | None = optional("How like the source's images a CLIP model finds them.")
    dino_similarity: DinoSimilarity | None = optional("How like the source's images a DINOv2 model finds them.")
    latent_cosine: SimilarityAtLeast | None = optional("Cosine of what both decode into images.")
    clip_score: ClipScore | None = optional("How well the images fit their prompts, against the source's.")
    label_accuracy: Share | None = optional("Share of images that show what their prompt's label says.")
    size_ratio: RatioAtMost | None = optional("Bytes of the target over bytes of the source.")

    @model_validator(mode="after")
    def _has_one(self) -> Require:
        if all(value is None for _, value in self):
            raise names.UnfitError(f"nothing is required; write at least one of {', '.join(type(self).model_fields)}")
        return self

    @model_validator(mode="after")
    def _has_a_clip_model(self) -> Require:
        if self.clip_similarity and not self.clip_similarity.model and not self.clip_score:
            raise names.UnfitError("clip_similarity has no model; name one there, or require clip_score with one")
        return self

    @property
    def judged(self) -> dict[str, tuple[str, str | None]]:
        """The judging model and its commit, of each requirement that names one."""
        found = {name: (getattr(one, "model", None), getattr(one, "revision", None)) for name, one in self}
        return {name: (model, revision) for name, (model, revision) in found.items() if model}

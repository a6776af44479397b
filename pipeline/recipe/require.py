"""What a recipe may require of its targets: the bounds that metrics have, of which each task makes its clauses."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, ConfigDict, Field, ValidationInfo, field_validator, model_validator

from pipeline.recipe import names
from pipeline.recipe.clause import Commit, RecipeModel, optional

Likeness = Annotated[float, Field(ge=-1, le=1)]
SIZE_RATIO_MEANS = "Bytes of the target over bytes of the source."


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
        return commit_of(info.data.get("model", ""), text)


def commit_of(model: str, text: str | None) -> str | None:
    """Return a judging model's commit, which only one on the Hub has."""
    if text is not None and names.is_path(model):
        raise names.UnfitError("a folder has no revision; remove this key")
    return text if text is None else names.commit(text, model)


class Requirements(RecipeModel):
    """What a target must reach to be published; a task has a field for each of its metrics."""

    model_config = ConfigDict(json_schema_extra={"minProperties": 1})
    strays = dict.fromkeys(
        ("load_time", "latency", "peak_memory", "peak_device_memory"),
        "measured and reported, and never required: the machine's load is in it; remove this key",
    )

    @model_validator(mode="after")
    def _has_one(self) -> Requirements:
        if all(value is None for _, value in self):
            raise names.UnfitError(f"nothing is required; write at least one of {', '.join(type(self).model_fields)}")
        return self

    @property
    def judged(self) -> dict[str, tuple[str, str | None]]:
        """The judging model and its commit, of each requirement that names one."""
        found = {name: (getattr(one, "model", None), getattr(one, "revision", None)) for name, one in self}
        return {name: (model, revision) for name, (model, revision) in found.items() if model}

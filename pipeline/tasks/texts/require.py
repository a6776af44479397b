"""What a recipe may require of a language model."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from pipeline.recipe.clause import RecipeModel, optional
from pipeline.recipe.require import SIZE_RATIO_MEANS, RatioAtMost, Requirements
from pipeline.tasks.texts import distribution as of


class DivergenceAtMost(RecipeModel):
    """An upper bound of a divergence, with that of the worst question."""

    max: float = Field(ge=0, description="The greatest mean over all tokens that passes, in nats.")
    worst: Annotated[float, Field(ge=0)] | None = optional(
        "What the worst question's own mean must keep; unless said, the square root of `max`."
    )


class NatsAtMost(RecipeModel):
    """An upper bound in nats."""

    max: float = Field(ge=0, description="The most that passes, in nats.")


class PerplexityAtMost(RecipeModel):
    """An upper bound of a perplexity."""

    max: float = Field(ge=1, description="The greatest perplexity that passes.")


class ShareAtLeast(RecipeModel):
    """A lower bound of a share."""

    min: float = Field(ge=0, le=1, description="The least share that passes.")


class Require(Requirements):
    """What a target must reach to be published; at least one requirement."""

    kl_divergence: Annotated[DivergenceAtMost | None, of.KL_DIVERGENCE] = optional(
        "Kullback-Leibler divergence from the source of what is expected at each token, in nats."
    )
    kl_divergence_median: Annotated[NatsAtMost | None, of.MEDIAN] = optional("Its median over all tokens.")
    kl_divergence_99_9: Annotated[NatsAtMost | None, of.HIGHEST] = optional("What 99.9 % of all tokens keep of it.")
    perplexity: Annotated[PerplexityAtMost | None, of.PERPLEXITY] = optional("Perplexity on the questions' texts.")
    perplexity_ratio: Annotated[RatioAtMost | None, of.PERPLEXITY_RATIO] = optional(
        "Perplexity over the source's; only models of equal size are compared by it."
    )
    same_top_token: Annotated[ShareAtLeast | None, of.SAME_TOP] = optional(
        "Share of tokens at which both expect the same one most."
    )
    answers_equal: Annotated[ShareAtLeast | None, of.ANSWERS_EQUAL] = optional(
        "Share of greedy answers that are the source's, token by token."
    )
    size_ratio: RatioAtMost | None = optional(SIZE_RATIO_MEANS)

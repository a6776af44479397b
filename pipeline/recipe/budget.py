"""A target that says how large it may be and lets the plan find its schemes."""

from __future__ import annotations

from typing import Annotated, Final

from pydantic import AfterValidator, ConfigDict, Field, model_validator

from pipeline.recipe import names
from pipeline.recipe.clause import ComponentNames, RecipeModel, Texts, optional, written

KEY: Final = "budget"
Size = Annotated[str, AfterValidator(names.size), written(f"^{names.SIZE}$")]


class Budget(RecipeModel):
    """How large a target may be; by its bytes, by its weights in memory, or by both."""

    model_config = ConfigDict(json_schema_extra={"anyOf": [{"required": ["size_ratio"]}, {"required": ["memory"]}]})

    size_ratio: Annotated[float, Field(gt=0, le=1)] | None = optional("Bytes of the target over bytes of the source.")
    memory: Size | None = optional("Bytes of all weights when they are loaded, such as `12GB`.")
    backends: Texts = Field(
        default=(), description="The only libraries to choose from; all that are installed where it is left out."
    )
    components: ComponentNames = Field(
        default=(), description="The only components that may be quantized; those made of Linear layers otherwise."
    )

    @model_validator(mode="after")
    def _has_a_limit(self) -> Budget:
        if self.size_ratio is None and self.memory is None:
            raise names.UnfitError("the budget has no limit; write 'size_ratio', 'memory' or both")
        return self

    @property
    def memory_bytes(self) -> int | None:
        """The limit of the weights in memory, in bytes."""
        return None if self.memory is None else names.bytes_of(self.memory)


class BudgetTarget(RecipeModel):
    """A target whose schemes are found when it is planned."""

    budget: Budget = Field(description="How large the target may be.")

"""What all parts of a recipe have in common."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, WithJsonSchema

from pipeline.recipe import names


class RecipeModel(BaseModel):
    """A part of a recipe: frozen, closed, and with no value taken for another type's.

    Attributes:
        strays: Words that an author may expect among its keys, with why they are none.
    """

    strays: ClassVar[Mapping[str, str]] = {}
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


def optional(description: str) -> Any:
    """Return a field that is left out of the JSON where the recipe does not have it.

    So a recipe's digest stays the same when the vocabulary grows by a word that it does not use.
    """
    return Field(default=None, description=description, exclude_if=lambda value: value is None)


def written(pattern: str) -> WithJsonSchema:
    """Return what an editor is told of a text that a function judges."""
    return WithJsonSchema({"type": "string", "pattern": pattern})


Commit = Annotated[str, written(f"^{names.COMMIT}$")]  # judged by the model around it, which knows the repository
Component = Annotated[str, AfterValidator(names.component), written(f"^{names.COMPONENT}$")]
Text = Annotated[str, Field(min_length=1)]


def as_set(named: tuple[str, ...]) -> tuple[str, ...]:
    """Return names whose order and repetition mean nothing in the one form that a plan has of them."""
    return tuple(sorted(set(named)))


Texts = Annotated[tuple[Text, ...], AfterValidator(as_set)]
ComponentNames = Annotated[tuple[Component, ...], AfterValidator(as_set)]

"""What all parts of a recipe have in common."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, GetCoreSchemaHandler, ValidationInfo, WithJsonSchema
from pydantic_core import core_schema

from pipeline.recipe import names


class RecipeModel(BaseModel):
    """A part of a recipe: frozen, closed, and with no value taken for another type's.

    Attributes:
        strays: Words that an author may expect among its keys, with why they are none.
    """

    strays: ClassVar[Mapping[str, str]] = {}
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> core_schema.CoreSchema:
        """Let the reader of a recipe's text, which is the context where there is one, say how this part is read."""
        model: Any = dict(handler.resolve_ref_schema(handler(source)))
        ref = model.pop("ref")

        def read(written: Any, build: core_schema.ValidatorFunctionWrapHandler, info: ValidationInfo) -> Any:
            part = getattr(info.context, "part", None)
            return part(cls, written, build) if part else build(written)

        as_written = core_schema.with_info_wrap_validator_function(read, model)
        return core_schema.json_or_python_schema(model, as_written, ref=ref)


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


Dtype = Literal["bfloat16", "float16", "float32"]
Texts = Annotated[tuple[Text, ...], AfterValidator(as_set)]
ComponentNames = Annotated[tuple[Component, ...], AfterValidator(as_set)]

"""Targets that say how large they may be and let the plan find their schemes: one by one, or a ladder of them."""

from __future__ import annotations

from typing import Annotated, Any, Final

from pydantic import AfterValidator, ConfigDict, Field, model_validator

from pipeline.recipe import names
from pipeline.recipe.clause import Component, ComponentNames, Dtype, RecipeModel, Texts, optional, written

KEY: Final = "budget"
CARDS: Final = "cards"
OPEN: Final = (KEY, CARDS)  # the keys of targets that name no schemes
ONLY_BACKENDS: Final = "The only libraries to choose from; all that there are where it is left out."
ONLY_COMPONENTS: Final = "The only components that may be quantized; those made of Linear layers otherwise."
Kept = Annotated[
    dict[Component, Texts],
    Field(
        description="Modules of components that stay as they are: names or globs.", exclude_if=lambda value: not value
    ),
]
Dtypes = Annotated[
    dict[Component, Dtype],
    Field(
        description="The type of the weights of components that are not quantized.", exclude_if=lambda value: not value
    ),
]
Size = Annotated[str, AfterValidator(names.size), written(f"^{names.SIZE}$")]


def step(card: str) -> str:
    """Return the name of the target that a ladder makes for a size of card, such as ``12gb``."""
    return card.lower().replace(" ", "")


def named_twice(target: str) -> str:
    """Return what is wrong with two targets of one name, of which a ladder makes one at least."""
    return f"the ladder's step is called {target!r} as another target is; rename that one, or leave the card out"


def distinct(cards: tuple[str, ...]) -> tuple[str, ...]:
    """Return sizes of cards, or raise `UnfitError` where one is given twice or none at all."""
    if not cards:
        raise names.UnfitError("a ladder needs at least one card")
    seen: set[int] = set()
    for number, card in enumerate(cards):
        if names.bytes_of(card) in seen:
            raise names.UnfitError(f"the card {card} is given twice", entry=number)
        seen.add(names.bytes_of(card))
    return cards


class Budget(RecipeModel):
    """How large a target may be: by its bytes, by its weights in memory, by the card that it runs on, or by several."""

    model_config = ConfigDict(
        json_schema_extra={"anyOf": [{"required": [limit]} for limit in ("size_ratio", "memory", "card")]}
    )

    size_ratio: Annotated[float, Field(gt=0, le=1)] | None = optional("Bytes of the target over bytes of the source.")
    memory: Size | None = optional("Bytes of all weights when they are loaded, such as `12GB`.")
    card: Size | None = optional("Memory of the graphics card that it must run on with all it needs, such as `12GB`.")
    backends: Texts = Field(default=(), description=ONLY_BACKENDS)
    components: ComponentNames = Field(default=(), description=ONLY_COMPONENTS)
    keep: Kept = Field(default={})
    dtype: Dtypes = Field(default={})

    @model_validator(mode="after")
    def _has_a_limit(self) -> Budget:
        if self.size_ratio is None and self.memory is None and self.card is None:
            raise names.UnfitError("the budget has no limit; write 'size_ratio', 'memory', 'card' or several")
        return self

    @property
    def memory_bytes(self) -> int | None:
        """The limit of the weights in memory, in bytes."""
        return None if self.memory is None else names.bytes_of(self.memory)

    @property
    def card_bytes(self) -> int | None:
        """The memory of the card that it must run on, in bytes."""
        return None if self.card is None else names.bytes_of(self.card)

    def words(self, component: str) -> dict[str, Any]:
        """Return what every scheme's quantization of a component says."""
        return {word: said[component] for word in ("keep", "dtype") if component in (said := getattr(self, word))}


class BudgetTarget(RecipeModel):
    """A target whose schemes are found when it is planned."""

    budget: Budget = Field(description="How large the target may be.")


class Ladder(RecipeModel):
    """One target for each size of graphics card, called as the card is: `8gb`, `12gb`."""

    cards: Annotated[tuple[Size, ...], AfterValidator(distinct)] = Field(
        description="The sizes of cards, such as `[8GB, 12GB]`; what several get is published for the first of them.",
        json_schema_extra={"minItems": 1},
    )
    backends: Texts = Field(default=(), description=ONLY_BACKENDS)
    components: ComponentNames = Field(default=(), description=ONLY_COMPONENTS)
    keep: Kept = Field(default={})
    dtype: Dtypes = Field(default={})

    @property
    def steps(self) -> dict[str, BudgetTarget]:
        """The targets that it stands for."""
        said = self.model_dump(exclude={"cards"})
        return {step(card): BudgetTarget(budget=Budget(card=card, **said)) for card in self.cards}

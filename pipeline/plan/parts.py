"""The parts of a plan that repeat a recipe with everything pinned: source, LoRAs, questions, bar."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field

from pipeline.files import ListedFile
from pipeline.recipe import Budget, Compile, DatasetPrompts, Prompt


class Value(BaseModel):
    """A part of a plan: frozen and closed."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """Return a copy; digests and the like that the original has cached are not the copy's."""
        made = super().model_copy(update=update, deep=deep)
        for name in made.__dict__.keys() - type(self).model_fields.keys():
            del made.__dict__[name]
        return made


class PlannedSource(Value):
    """The source as the plan pins it; a folder is named as the recipe wrote it."""

    repo: str | None = None
    revision: str | None = None
    path: str | None = None
    variant: str | None = Field(default=None, exclude_if=lambda value: value is None)  # older plans keep their digest

    @property
    def where(self) -> str:
        """How it is named in messages."""
        return f"{self.repo}@{(self.revision or '')[:12]}" if self.repo else str(self.path)


class PlannedLora(Value):
    """A LoRA as the plan pins it; one on this disk is named as the recipe wrote it.

    Attributes:
        file: Its file, in the repository or in the folder.
        listed: Size and digest of that file.
        scale: How strongly it is applied.
        how: Whether it is ``fused`` into the source, or ``loaded`` onto source and result by the validation.
    """

    repo: str | None = None
    revision: str | None = None
    path: str | None = None
    file: str
    listed: ListedFile
    scale: float
    how: Literal["fused", "loaded"]

    @property
    def name(self) -> str:
        """The repository, or the path."""
        return self.repo or str(self.path)

    @property
    def where(self) -> str:
        """How its file is named in messages."""
        return f"{self.repo}@{(self.revision or '')[:12]}/{self.file}" if self.repo else f"{self.path}, {self.file}"


class PlannedChoice(Value):
    """Schemes that a budget may choose.

    Attributes:
        components: Backend and scheme of each component that is quantized.
        size_ratio: Bytes of the target over bytes of the source.
        memory_bytes: Bytes of all weights when they are loaded.
        sqnr: Decibels of signal over noise that are expected of all weights that may be quantized.
        rows: Of each component, on how many rows of the source that was measured; those that lack are reckoned as if
            their weights were distributed normally.
    """

    components: dict[str, str]
    size_ratio: float
    memory_bytes: int
    sqnr: float
    rows: dict[str, int] = Field(default={}, exclude_if=lambda value: not value)


class PlannedBudget(Value):
    """A budget with what was found for it, and what would have been next."""

    asked: Budget
    found: PlannedChoice
    runner_up: PlannedChoice | None = None


class PlannedDataset(DatasetPrompts):
    """The column of a dataset that the prompts come from, as the recipe names it.

    Attributes:
        rows: How many rows its split has.
        repeated: How many of them say what an earlier one says, and are not asked.
    """

    rows: int
    repeated: int

    @property
    def asked(self) -> DatasetPrompts:
        """What the recipe says of it."""
        return DatasetPrompts(**self.model_dump(exclude={"rows", "repeated"}))


class PlannedPrompts(Value):
    """The questions, and the dataset that they come from, if it is not a file."""

    prompts: tuple[Prompt, ...]
    dataset: PlannedDataset | None = Field(default=None, exclude_if=lambda value: value is None)


class PlannedValidation(PlannedPrompts):
    """The questions and the bar; a judge in a folder is pinned by the digest of its files."""

    seeds: tuple[int, ...]
    call: dict[str, Any]
    require: dict[str, Any]
    judges: dict[str, str]
    compile: Compile | None = Field(default=None, exclude_if=lambda value: value is None)

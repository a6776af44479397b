"""The parts of a plan that repeat a recipe with everything pinned: source, LoRAs, questions, bar."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field

from pipeline.files import ListedFile
from pipeline.recipe import Budget, Compile, DatasetPrompts, Device, InBrowser, Prompt


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


Offload = Literal["none", "model", "sequential"]
"""Ways to run a pipeline on a card: all of it there, one component at a time, or one weight at a time."""


class CardMemory(Value):
    """Bytes of a card that running a whole takes at most.

    Attributes:
        weights: Of weights, exact unless a library alone knows what it makes of some.
        reckoned: Of what a call takes beside them, and of the reserve for CUDA.
    """

    weights: int
    reckoned: int

    @property
    def total(self) -> int:
        """All of them."""
        return self.weights + self.reckoned


class LadderStep(Value):
    """What a ladder has for one card.

    Attributes:
        target: The target that the recipe has for it.
        card: The card's memory, as the recipe says it.
        taken: The target whose repository is for it: this one, or that of a card that the recipe names before it and
            for which the search found the same; empty where the source itself runs on it.
        repository: That repository, or the source's; the folder of one that is on no Hub.
        components: Backend and scheme of each component that is quantized.
        bytes: Bytes of the files.
        estimated: Whether these, and the weights in memory, are reckoned from what a scheme states.
        sqnr: Decibels of signal over noise that are expected of all weights that may be quantized; None of the source.
        offload: How it has to be run on this card.
        memory: What it takes of a card, by how it is run.
    """

    target: str
    card: str
    taken: str
    repository: str
    components: dict[str, str]
    bytes: int
    estimated: bool
    sqnr: float | None
    offload: Offload
    memory: dict[Offload, CardMemory]

    @property
    def published(self) -> bool:
        """Whether it has a repository of its own."""
        return self.taken == self.target

    @property
    def instead(self) -> str:
        """Why it has none, and what its card takes; empty where it has."""
        if self.published:
            return ""
        if self.taken:
            return f"the same as {self.taken}, so {self.repository} is for a card of {self.card}, too"
        return f"the source itself runs on a card of {self.card}, so {self.repository} is for it"


class PlannedLadder(Value):
    """What there is for each card, the smallest first."""

    steps: tuple[LadderStep, ...]


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
    device: Device | None = Field(default=None, exclude_if=lambda value: value is None)
    browser: InBrowser | None = Field(default=None, exclude_if=lambda value: value is None)

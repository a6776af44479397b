"""The recipe as its author wrote it, typed: the words of the YAML file are the fields, nothing is resolved."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import (
    AfterValidator,
    Discriminator,
    Field,
    JsonValue,
    SerializeAsAny,
    Tag,
    ValidationInfo,
    field_validator,
    model_validator,
)

from pipeline.recipe import names
from pipeline.recipe.budget import CARDS, KEY, Budget, BudgetTarget, Ladder, Size, named_twice
from pipeline.recipe.clause import Commit, Component, ComponentNames, Dtype, RecipeModel, Text, Texts, optional, written
from pipeline.recipe.problems import nearest
from pipeline.recipe.require import Requirements

Argument = str | bool | int | float | None | tuple[str | bool | int | float, ...]
Target = Annotated[str, AfterValidator(names.target), written(f"^{names.TARGET}$")]
Keyword = Annotated[str, AfterValidator(names.argument), written(f"^{names.COMPONENT}$")]
Namespace = Annotated[str, AfterValidator(names.namespace), written(f"^{names.REPOSITORY_NAME}$")]
_NAME = names.REPOSITORY_NAME
Repository = Annotated[str, AfterValidator(names.repository), written(f"^{_NAME}/{_NAME}$")]
RecipePath = Annotated[str, AfterValidator(names.path), written(".")]
Variant = Annotated[str, AfterValidator(names.variant), written(f"^{names.VARIANT}$")]
Variable = Annotated[str, AfterValidator(names.variable), written(f"^{names.VARIABLE}$")]
Seed = Annotated[int, Field(ge=0, lt=2**63)]
Split = Annotated[str, AfterValidator(names.split), written(f"^{names.SPLIT}$")]
MOST_PROMPTS = 10_000  # each is drawn with every seed, by the source and by each target, and stands in the plan


READ_BY = (
    "The environment variable whose token reads what this recipe reads: the source, its LoRAs, judges and datasets; "
    "a name, never a token. The client's own token where it is left out."
)
VARIANT_MEANS = "Which of the source's weight files are read, such as `fp16`; the plain ones where it is left out."


class AtCommit(RecipeModel):
    """A repository on the Hub at one commit."""

    repo: Repository = Field(description="The repository, `namespace/name`.")
    revision: Commit = Field(description="The commit, never a branch.")

    @field_validator("revision")
    @classmethod
    def _is_commit(cls, text: str, info: ValidationInfo) -> str:
        return names.commit(text, info.data.get("repo", ""))

    @property
    def origin(self) -> str:
        """The repository, for messages and names that take a folder as well."""
        return self.repo


class HubSource(AtCommit):
    """A model repository on the Hub at one commit."""

    variant: Variant | None = optional(VARIANT_MEANS)
    token: Variable | None = Field(default=None, description=READ_BY, exclude=True)  # no part of what is made


class FolderSource(RecipeModel):
    """A model in a folder."""

    path: RecipePath = Field(description="The folder, relative to the recipe's own file.")
    variant: Variant | None = optional(VARIANT_MEANS)

    @property
    def origin(self) -> str:
        """The folder as written, for messages and names that take either kind of source."""
        return self.path


def _where_it_lies(written: object) -> str | None:
    """Return whether something lies on the Hub or in a folder, None where that is not clear."""
    words = written if isinstance(written, dict) else getattr(written, "__dict__", ())
    meant = {nearest(word, ("repo", "revision", "path")) for word in words} - {""}
    if meant == {"path"}:
        return "[folder]"
    return "[hub]" if meant and "path" not in meant else None


Lies = Discriminator(
    _where_it_lies, custom_error_type="either", custom_error_message="'repo' and 'revision', or 'path'"
)
Source = Annotated[Annotated[HubSource, Tag("[hub]")] | Annotated[FolderSource, Tag("[folder]")], Lies]


class Destination(RecipeModel):
    """Where the targets are published."""

    namespace: Namespace = Field(description="The user or organization.")
    name: Annotated[str, AfterValidator(names.template)] = Field(
        default="{source}-{target}", description="The repositories' names, made of `{source}` and `{target}`."
    )
    private: bool = Field(default=False, description="Whether the repositories are private.")
    adopt: bool = Field(
        default=False,
        description="Whether repositories that hold other files are taken over: what a release writes is overwritten, "
        "and all else kept.",
    )


class LoraBase(RecipeModel):
    """What is done with a LoRA, wherever it lies."""

    file: Annotated[str, AfterValidator(names.weights)] | None = optional(
        "Its safetensors file; left out where there is only one."
    )
    scale: float = Field(default=1.0, ge=-100, le=100, description="How strongly it is applied.")
    how: Literal["fused", "loaded"] = Field(
        description="`fused` into the source before quantizing, or `loaded` onto source and result to validate it."
    )

    @field_validator("scale")
    @classmethod
    def _does_something(cls, scale: float) -> float:
        if scale == 0:
            raise names.UnfitError("a LoRA at scale 0 does nothing; take it out")
        return scale


class HubLora(AtCommit, LoraBase):
    """A LoRA on the Hub at one commit."""


class FolderLora(LoraBase):
    """A LoRA on this disk."""

    path: RecipePath = Field(description="A folder or a safetensors file, relative to the recipe's own file.")

    @property
    def origin(self) -> str:
        """The path as written, for messages that take either kind of LoRA."""
        return self.path


Lora = Annotated[Annotated[HubLora, Tag("[hub]")] | Annotated[FolderLora, Tag("[folder]")], Lies]


class Words(RecipeModel):
    """What every scheme's quantization says of a component."""

    backend: str = Field(description="The quantization library.")
    scheme: str = Field(description="What the library is asked to do.")
    keep: Texts = Field(default=(), description="Modules that stay as they are: names or globs.")
    dtype: Dtype = Field(default="bfloat16", description="The type of the weights that are not quantized.")


class Quantization(Words):
    """What is done to one component. In YAML the options stand beside the other words."""

    options: dict[str, JsonValue] = Field(
        default_factory=dict,
        description="The scheme's options, all of them, spelled out by the author or not.",
    )

    @property
    def words(self) -> str:
        """Backend and scheme in two words."""
        return f"{self.backend} {self.scheme}"


class DatasetPrompts(RecipeModel):
    """Prompts in a column of a dataset on the Hub at one commit."""

    dataset: Repository = Field(description="The dataset's repository, `namespace/name`.")
    revision: Commit = Field(description="The commit, never a branch.")
    config: Text | None = optional("The dataset's configuration; its default one where it is left out.")
    split: Split = Field(description="The split, such as `train` or `test`.")
    column: Text = Field(description="The column that has the prompts.")
    label: Text | None = optional("The column that has what each prompt's image must show.")
    files: dict[Keyword, Text] = Field(
        default={},
        description="The columns that have each prompt's further files, by what they are to the task, such as `image`.",
        exclude_if=lambda value: not value,
    )
    sample: Annotated[int, Field(ge=1, le=MOST_PROMPTS)] | None = optional(
        "How many prompts are chosen; all where it is left out."
    )
    seed: Seed = Field(default=0, description="Another seed chooses another sample.")

    @field_validator("revision")
    @classmethod
    def _is_commit(cls, text: str, info: ValidationInfo) -> str:
        return names.commit(text, f"datasets/{info.data.get('dataset', 'NAMESPACE/NAME')}")

    @property
    def where(self) -> str:
        """How the columns of its texts and files are named in messages."""
        place = f"{self.dataset}@{self.revision[:12]}"
        config = f"configuration {self.config}, " if self.config else ""
        columns = "".join(f", {role} in {column}" for role, column in self.files.items())
        return f"{place}, {config}split {self.split}, column {self.column}{columns}"


def _kind_of_prompts(written: object) -> str | None:
    """Return which of the two ways to name prompts this is, so that what is wrong with it is told of that one alone."""
    if isinstance(written, dict | DatasetPrompts):
        return "[dataset]"
    return None if isinstance(written, list | tuple) else "[file]"


Prompts = Annotated[
    Annotated[RecipePath, Tag("[file]")] | Annotated[DatasetPrompts, Tag("[dataset]")],
    Discriminator(_kind_of_prompts, custom_error_type="other", custom_error_message="text or a mapping"),
]


class Compile(RecipeModel):
    """How users compile a target with ``torch.compile``; tried on each."""

    components: ComponentNames = Field(min_length=1, description="The components that are compiled.")
    fullgraph: bool = Field(default=False, description="Whether a single break of the graph is a failure.")
    mode: Literal["default", "reduce-overhead", "max-autotune", "max-autotune-no-cudagraphs"] = Field(
        default="default", description="What is optimized for, as `torch.compile` has it."
    )


class Device(RecipeModel):
    """A small device without a GPU, such as a board, that every target must run on; tried within its limits."""

    memory: Size = Field(description="The memory that a process may have there, such as `4GB`.")
    threads: int = Field(default=1, ge=1, le=1024, description="How many threads of the processor it may use.")

    @property
    def memory_bytes(self) -> int:
        """The memory in bytes."""
        return names.bytes_of(self.memory)


class InBrowser(RecipeModel):
    """How targets that a page can load are tried in a browser."""

    questions: int = Field(
        default=4, ge=1, le=100, description="How many of the questions it is asked, the first ones."
    )


class Validation(RecipeModel):
    """How the targets are judged against the source; a task says what may be required."""

    prompts: Prompts = Field(
        description='A .jsonl file of {"prompt": ..., "label": ...}, relative to the recipe, or a column of a dataset.'
    )
    seeds: tuple[Seed, ...] = Field(
        min_length=1,
        description="One image a prompt is made from each seed.",
        json_schema_extra={"uniqueItems": True},
    )
    call: dict[Keyword, Argument] = Field(default_factory=dict, description="Keyword arguments of the pipeline's call.")
    require: SerializeAsAny[Requirements] = Field(description="What a target must reach to be published.")
    compile: Compile | None = optional("Tries whether components can be compiled with `torch.compile`.")
    device: Device | None = optional("Tries whether targets answer within a small device's memory and threads.")
    browser: InBrowser | None = optional(
        "Has a browser load the targets that are ONNX, as a page does, and answer some of the questions."
    )

    @field_validator("seeds")
    @classmethod
    def _are_distinct(cls, seeds: tuple[int, ...]) -> tuple[int, ...]:
        seen: set[int] = set()
        for seed in seeds:
            if seed in seen:
                raise names.UnfitError(f"the seed {seed} is given twice; it would make the same images again")
            seen.add(seed)
        return seeds


def _kind_of_target(written: object) -> str:
    """Return which of the ways to say what is made of a source this is."""
    if isinstance(written, dict):
        if any(nearest(word, [CARDS]) for word, value in written.items() if not isinstance(value, dict)):
            return "[ladder]"
        return "[budget]" if any(_means_budget(*entry) for entry in written.items()) else "[components]"
    if isinstance(written, tuple) and written and all(re.fullmatch(names.SIZE, str(entry)) for entry in written):
        return "[ladder]"  # whose key is missing
    if isinstance(written, Ladder):
        return "[ladder]"
    return "[budget]" if isinstance(written, BudgetTarget) else "[components]"


def _means_budget(word: str, value: object) -> bool:
    """Tell a budget, however it is spelled, from a component that is called nearly so, such as ``unet``."""
    quantized = isinstance(value, Words) or (isinstance(value, dict) and "backend" in value)
    return word == KEY or (bool(nearest(word, [KEY])) and not quantized)


def _are_apart(several: tuple[Quantization, ...]) -> tuple[Quantization, ...]:
    """Refuse artifacts of a component that would be files of one name, which tells backend and scheme alone."""
    words = [each.words for each in several]
    for number, each in enumerate(words):
        if each in words[:number]:
            raise names.UnfitError(f"{each} is here already, and both would be one file", entry=number)
    return several


def _how_many(written: object) -> str:
    """Return whether one artifact is made of a component or several."""
    return "[several]" if isinstance(written, list | tuple) else "[one]"


Several = Annotated[tuple[Quantization, ...], Field(min_length=1), AfterValidator(_are_apart)]
Artifacts = Annotated[
    Annotated[Quantization, Tag("[one]")] | Annotated[Several, Tag("[several]")], Discriminator(_how_many)
]
Components = Annotated[dict[Component, Artifacts], Field(min_length=1)]
Made = Annotated[
    Annotated[Components, Tag("[components]")]
    | Annotated[BudgetTarget, Tag("[budget]")]
    | Annotated[Ladder, Tag("[ladder]")],
    Discriminator(_kind_of_target),
]


class Card(RecipeModel):
    """How the repositories' README is written."""

    template: str = Field(description="The template of the card.")


class Recipe(RecipeModel):
    """A source and the quantized repositories to make of it."""

    source: Source = Field(description="The model that is quantized.")
    task: str = Field(description="What the model does.")
    destination: Destination = Field(description="Where the targets are published.")
    targets: dict[Target, Made] = Field(
        min_length=1,
        description="The repositories to make, each component of each with its quantization, or a list of them where "
        "several files of it lie beside each other; or a budget; a ladder makes one a card.",
    )
    loras: tuple[Lora, ...] = Field(
        default=(),
        description="LoRAs that are fused before quantizing, or tried on the result.",
        exclude_if=lambda value: not value,
    )
    validation: SerializeAsAny[Validation] = Field(description="How the targets are judged against the source.")
    card: Card = Field(description="How the repositories' README is written.")
    build: int = Field(
        default=1,
        ge=1,
        le=10_000,
        description="Raised where all of it is to be made and published again, with the versions of the day.",
        exclude_if=lambda value: value == 1,
    )

    @field_validator("targets")
    @classmethod
    def _has_every_step(cls, written: dict[str, Made]) -> dict[str, Made]:
        """Put the steps of a ladder in its place, which are targets with budgets like any other from here on."""
        found: dict[str, Made] = {}
        for name, made in written.items():
            steps: dict[str, Made] = {**made.steps} if isinstance(made, Ladder) else {name: made}
            for twice in steps.keys() & found.keys():
                raise names.ClashError(named_twice(twice))
            found |= steps
        return found

    @field_validator("validation", mode="before")
    @classmethod
    def _is_that_of_the_task(cls, value: object, info: ValidationInfo) -> object:
        """Read the clause as the task has it, in a JSON whose reader gives a vocabulary as the context."""
        asked = info.context if info.mode == "json" and isinstance(value, dict) else None
        task = asked.task(info.data.get("task", "")) if asked else None
        return task.validation.model_validate(value, strict=False) if task else value

    @model_validator(mode="after")
    def _has_distinct_names(self) -> Recipe:
        where = self.destination
        for _, text in names.clashes(where.namespace, where.name, self.source.origin, list(self.targets)):
            raise names.ClashError(text)
        return self

    @property
    def repositories(self) -> dict[str, str]:
        """The repository of each target, ``namespace/name``."""
        where = self.destination
        return {
            target: f"{where.namespace}/{names.render(where.name, names.name_of_source(self.source.origin), target)}"
            for target in self.targets
        }

    @property
    def model_name(self) -> str:
        """What the model is called in the names of single files."""
        return names.render_model(self.destination.name, names.name_of_source(self.source.origin))

    def named(self, target: str) -> Mapping[str, Quantization]:
        """Return what the recipe itself says of a target's components: nothing where it gives a budget.

        Of a component with several artifacts it is the first, which the others are beside.
        """
        return {name: several[0] for name, several in self.artifacts(target).items()}

    def further(self, target: str) -> Mapping[str, tuple[Quantization, ...]]:
        """Return what else is made of a target's components, where it is more than one artifact."""
        return {name: several[1:] for name, several in self.artifacts(target).items() if len(several) > 1}

    def artifacts(self, target: str) -> Mapping[str, tuple[Quantization, ...]]:
        """Return everything that is made of a target's components, as far as the recipe itself names it."""
        made = self.targets[target]
        if not isinstance(made, dict):
            return {}
        return {name: part if isinstance(part, tuple) else (part,) for name, part in made.items()}

    def budget(self, target: str) -> Budget | None:
        """Return the budget of a target, where it has one."""
        made = self.targets[target]
        return made.budget if isinstance(made, BudgetTarget) else None

    @property
    def for_cards(self) -> dict[str, Budget]:
        """The budgets of the targets that are each for a card, as those of a ladder are."""
        budgets = {target: self.budget(target) for target in self.targets}
        return {target: budget for target, budget in budgets.items() if budget and budget.card}

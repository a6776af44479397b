"""What a task is: what a question and an answer are, how a model is loaded and asked, and by what it is judged.

Everything else that validates, tunes, shows and publishes knows questions, answers and metrics only. A task is a value
in one file and an entry in `pipeline.tasks.TASKS`; tasks with the same kind of answer share a `Medium`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from pipeline.recipe.prompts import Form, Question
from pipeline.recipe.schema import Validation
from pipeline.source.layout import Layout, Place, read_layout, read_single
from pipeline.tasks.answers import Request
from pipeline.tasks.costs import COSTS
from pipeline.tasks.metrics import Metric, Pair


@dataclass(frozen=True)
class LoadedModel:
    """A model as its users load it, in the process that asks it.

    Attributes:
        model: The pipeline, or the model with what prepares its input; nobody but the task's ``ask`` looks into it.
        components: Its parts by their names in a plan, and what else decides over what its users get, such as its
            tokenizer; those with weights are asked layer by layer, and how all are set must be as in the source.
        device: The torch device that it is on.
        how: One sentence on how it was loaded; a card repeats it.
    """

    model: Any
    components: Mapping[str, Any]
    device: Any
    how: str


@dataclass(frozen=True)
class Given:
    """An answer as a model gave it, before it is written.

    Attributes:
        values: Its numbers, as a floating-point NumPy array of the shape that the medium saves: (height, width,
            channels) in [0, 1] for a picture, (frames, height, width, channels) for a video, (dimensions,) for an
            embedding, (tokens,) for a text, whose log probabilities they are. NaN and infinity are found by whoever
            keeps it.
        besides: Further arrays of it that metrics read, by name, such as ``latents``.
        fault: What the model itself says is wrong with it, as the end of the sentence "it is ..."; empty for nothing.
        text: What it says, where it is a text.
        tokens: The ids of that text's tokens, those that end it included.
        pieces: What each of them stands for, as the tokenizer spells it alone.
        language: That which the text is known to be in, such as ``en``; empty where nobody said.
    """

    values: Any
    besides: Mapping[str, Any] = field(default_factory=dict)
    fault: str = ""
    text: str = ""
    tokens: Sequence[int] = ()
    pieces: Sequence[str] = ()
    language: str = ""


@dataclass(frozen=True)
class Medium:
    """A kind of answer: how it is kept, compared and shown. Libraries are imported inside its functions only.

    Attributes:
        noun: The word for one answer, such as ``picture``, which takes an s for several.
        suffix: The ending of its file's name, such as ``.png``.
        save: Writes an answer, all of whose values are finite, to a file.
        open: Reads a file that was written, into what metrics compare.
        content: Returns the bytes of an opened answer, which are equal for answers that are the same.
        unlike: Returns what keeps the source's and the candidate's opened answer from being compared, such as their
            sizes: the beginning of a sentence, and what to do about it. None where nothing does.
        fault: Returns what makes an opened answer none, as the end of the sentence "it is ..."; empty for nothing. It
            also gets the source's, to which it may be compared.
        sketch: Returns an array of an opened answer, in which answers that are the same to people are close.
        alike: The mean absolute difference between two sketches below which the answers are the same to people, in the
            unit of the sketches.
        decibels: Returns how far two arrays of values of one shape are apart, as signal over noise in decibels:
            `IDENTICAL` where they are equal, 0 where one is not finite.
        metrics: The metrics that compare answers, by their names in a recipe and in the order of every table.
        ranking: The metric that ranks answers where one must: for a card, and for the search of ``publish tune``.
        packages: Distributions that measure, whose versions a report and a plan tell.
        imports: Modules that measuring imports, which takes seconds and is begun while models answer.
        judge_imports: Those that models which judge take besides.
        beside: Writes a picture that shows the source's and the candidate's file beside each other, for the card; None
            where a picture of answers shows little.
        words: Returns what people read of an opened answer, which report and card repeat; None where it is no text.
        part: What of an answer that picture shows, such as ``the middle frame``; empty where it shows all of it.
        lost: Returns what makes all of the source's answers together none, as a sentence; empty for nothing.
    """

    noun: str
    suffix: str
    save: Callable[[Given, Path], None]
    open: Callable[[Path], Any]
    content: Callable[[Any], bytes]
    unlike: Callable[[Any, Any], tuple[str, str] | None]
    fault: Callable[[Any, Any], str]
    sketch: Callable[[Any], Any]
    alike: float
    decibels: Callable[[Any, Any], float]
    metrics: Mapping[str, Metric]
    ranking: str
    packages: tuple[str, ...] = ()
    imports: tuple[str, ...] = ()
    judge_imports: tuple[str, ...] = ()
    beside: Callable[[Path, Path, Path], None] | None = None
    words: Callable[[Any], str] | None = None
    part: str = ""
    lost: Callable[[Sequence[Pair]], str] = lambda _: ""


@dataclass(frozen=True)
class Page:
    """How a page asks a model, by the pipeline that transformers.js has under the task's name.

    Attributes:
        question: Returns what the pipeline is called with for a question, the call of its recipe, and the address under
            which its files lie: its input, and its options.
        answer: Returns what it answered, as JSON has it, as an answer of the task.
        usage: The template in ``cards/`` of the page that a card shows.
        trial: The name of the form, and of the script that asks by it, with which visitors of a catalog try a model:
            files in ``pipeline/fleet/site/templates/``.
    """

    question: Callable[[Question, Mapping[str, Any], str], tuple[Any, Mapping[str, Any]]]
    answer: Callable[[Any], Given]
    usage: str
    trial: str


IDENTICAL = 100.0
"""Decibels that stand for no difference at all, and the most that are told."""


@dataclass(frozen=True)
class Task:
    """What a model is for.

    Attributes:
        medium: The kind of its answers.
        validation: The type of the clause ``validation`` of its recipes, with the metrics that may be required.
        library: The library that loads a checkpoint, as the Hub's ``library_name`` has it.
        loader: The class of that library whose ``from_pretrained`` does.
        usage: The template in ``cards/`` of the snippet that a card shows.
        installs: Distributions that the card's snippet takes, beside the backend's.
        imports: Modules that loading imports, whose import is no part of the time that it takes.
        load: Loads a model from a folder, with the name of the torch dtype of all that is not quantized, such as
            ``bfloat16``, by `loader`. What the library raises is left to end the process.
        ask: Has a loaded model answer the question of a request with this index, with a seed.
        seeded: Whether an answer depends on a seed.
        single: Whether its source is a single model, and not a pipeline of components.
        files: The files that a question has besides its text, each with what it is.
        words: What else a line of its prompts may have, of `pipeline.recipe.prompts.MESSAGES` and `TEXT`.
        open_file: Opens one of them as the model is given it, or raises whatever it likes.
        label: What prompts call that which an answer must show.
        exact: Whether that is all an answer says: it may be nothing, and two questions may have the same.
        named_by: The file whose name is the text of a question that has none.
        tag: The Hub's ``pipeline_tag``, where the Hub has no task of this name.
        page: How a page asks it; None where none can.
        untaken: Returns which words of a recipe's call a source does not take, each with the reason as the end of the
            sentence "it takes no 'word': ..."; of what its files tell, before anything of it is loaded.
    """

    medium: Medium
    validation: type[Validation]
    library: str
    loader: str
    usage: str
    installs: tuple[str, ...]
    imports: tuple[str, ...]
    load: Callable[[Path, str, str], LoadedModel]
    ask: Callable[[LoadedModel, Request, int, int], Given]
    seeded: bool = True
    single: bool = False
    files: Mapping[str, str] = field(default_factory=dict)
    words: tuple[str, ...] = ()
    open_file: Callable[[Path], Any] = Path.read_bytes
    label: str = "label"
    exact: bool = False
    named_by: str = ""
    tag: str = ""
    page: Page | None = None
    untaken: Callable[[Place, Mapping[str, Any]], Mapping[str, str]] = lambda _place, _call: {}

    @cached_property
    def metrics(self) -> dict[str, Metric]:
        """The metrics of its answers, then those that are known of every model, by their names."""
        return {**self.medium.metrics, **COSTS}

    @property
    def form(self) -> Form:
        """What a line of its prompts says."""
        return Form(tuple(self.files), self.words, self.label, self.exact, self.named_by)

    def layout(self, place: Place, variant: str | None = None) -> Layout:
        """Return what loading a model of this task reads of a source.

        Raises:
            SourceError: It is no pipeline, or no single model, whichever the task is for.
        """
        return (read_single if self.single else read_layout)(place, variant)

    def called(self, prompt: str, seed: int) -> str:
        """Return how the answer to a prompt is named to people, as the beginning of a sentence."""
        return f"The {self.medium.noun} for {prompt!r}{f' with seed {seed}' if self.seeded else ''}"


__all__ = ["IDENTICAL", "Given", "LoadedModel", "Medium", "Page", "Task"]

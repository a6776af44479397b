"""Two folders of answers become pairs of answers, checked before anything is measured on them."""

from __future__ import annotations

from collections.abc import Container, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from pipeline.errors import GenerationError
from pipeline.files import sha256_file
from pipeline.tasks import TASKS, Task
from pipeline.tasks.answers import Answer, Answers
from pipeline.tasks.metrics import Pair


class Prompt(BaseModel):
    """A prompt and, if the prompts say, the label of what its answer must show."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    text: str
    label: str | None = None


@dataclass(frozen=True)
class Side:
    """The source's or a candidate's answers and the folder that holds their files."""

    answers: Answers
    folder: Path

    @property
    def task(self) -> Task:
        """What was asked of it."""
        return TASKS[self.answers.task]

    def with_answers(self, answers: Sequence[Answer], folder: Path) -> Side:
        """Return the same side with some answers, whose files lie elsewhere, in the place of its own."""
        others = {(answer.prompt, answer.seed): answer for answer in answers}
        moved = {asked: answer.moved(str(folder.resolve())) for asked, answer in others.items()}
        given = tuple(moved.get((answer.prompt, answer.seed), answer) for answer in self.answers.given)
        return Side(self.answers.model_copy(update={"given": given}), self.folder)

    def without(self, prompts: Container[int]) -> Side:
        """Return the same side as if some prompts, by their index, had not been asked."""
        told = self.answers
        kept = [number for number, answer in enumerate(told.given) if answer.prompt not in prompts]
        fewer = {
            "given": tuple(told.given[number] for number in kept),
            "seconds_per_call": tuple(told.seconds_per_call[number] for number in kept),
            "repeated": tuple(answer for answer in told.repeated if answer.prompt not in prompts),
        }
        return Side(told.model_copy(update=fewer), self.folder)


def pair_up(reference: Side, candidate: Side, prompts: Sequence[Prompt]) -> tuple[Pair, ...]:
    """Return the answers of both sides by prompt and seed.

    Raises:
        GenerationError: The sides answered different questions, in different sizes, or a file has changed since.
    """
    asked = [(answer.prompt, answer.seed) for answer in reference.answers.given]
    if not asked or asked != [(answer.prompt, answer.seed) for answer in candidate.answers.given]:
        raise _other_than_asked("The source and the candidate did not answer the same prompts and seeds.", candidate)
    both = zip(reference.answers.given, candidate.answers.given, strict=True)
    return tuple(_pair(prompts, (reference, own), (candidate, other)) for own, other in both)


def repeated_pairs(reference: Side, prompts: Sequence[Prompt]) -> tuple[Pair, ...]:
    """Return the source's first answers beside those it gave when it was asked again."""
    first = {(answer.prompt, answer.seed): answer for answer in reference.answers.given}
    again = reference.answers.repeated
    return tuple(_pair(prompts, (reference, first[one.prompt, one.seed]), (reference, one)) for one in again)


def identical(task: Task, pair: Pair) -> bool:
    """Tell whether both answers are the same, bit for bit."""
    return task.medium.content(pair.reference) == task.medium.content(pair.candidate)


def _pair(prompts: Sequence[Prompt], own: tuple[Side, Answer], other: tuple[Side, Answer]) -> Pair:
    prompt = prompts[own[1].prompt]
    reference, candidate = _open(*own), _open(*other)
    if differ := own[0].task.medium.unlike(reference, candidate):
        raise GenerationError(f"{differ[0]}, for {prompt.text!r}.", remedy=differ[1])
    return Pair(own[1].prompt, prompt.text, prompt.label, own[1].seed, reference, candidate, _besides(own, other))


def _besides(own: tuple[Side, Answer], other: tuple[Side, Answer]) -> dict[str, tuple[Path, Path]]:
    """Return the further files that both sides kept."""
    (source, first), (result, second) = own, other
    both = first.besides.keys() & second.besides.keys()
    return {name: (source.folder / first.besides[name], result.folder / second.besides[name]) for name in both}


def _open(side: Side, answer: Answer) -> Any:
    path = side.folder / answer.file
    if not path.is_file() or sha256_file(path) != answer.sha256:
        raise _other_than_asked(f"The {side.task.medium.noun} {answer.file} is not the one that was made.", side)
    return side.task.medium.open(path)


def _other_than_asked(what: str, side: Side) -> GenerationError:
    return GenerationError(what, where=str(side.folder), remedy="Remove the folder and validate again.")

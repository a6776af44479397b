"""Layer swaps: a few prompts answered with some layers as the source has them; ``layer_swap_worker`` is the process."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.events import Event, Listener
from pipeline.tasks import TASKS
from pipeline.tasks.answers import Answer, Request
from pipeline.tasks.metrics import MetricInput, Sizes
from pipeline.validate.findings import Sample
from pipeline.validate.generate import LOG
from pipeline.validate.layer_swap_worker import Swap, Trial
from pipeline.validate.pairs import Prompt, Side, identical, pair_up
from pipeline.validate.report import Statistic
from pipeline.worker.session import Child, child


@dataclass
class Trials:
    """A checkpoint that is loaded and waits for trials.

    Attributes:
        questions: What is asked in each trial: the index of a question and a seed for each answer.
        out: The folder for all answers.
        listen: Hears of every answer.
        child: The process.
        unit: What answers are called.
        done: How many trials there were.
    """

    questions: tuple[tuple[int, int], ...]
    out: Path
    listen: Listener
    child: Child
    unit: str
    done: int = 0

    def ask(self, swaps: Sequence[Swap], subject: str) -> tuple[Path, tuple[Answer, ...]]:
        """Ask every question with these layers as the source has them, and return the answers and their folder.

        Raises:
            GenerationError: The checkpoint did not answer.
            CannotHereError: The memory did not suffice.
        """
        self.done += 1
        folder = self.out / f"trial-{self.done:03d}"
        folder.mkdir(parents=True, exist_ok=True)
        trial = Trial(out=str(folder.resolve()), questions=self.questions, swaps=tuple(swaps))
        self.child.say(trial.model_dump(mode="json"))
        return folder, tuple(Answer.model_validate(one) for one in self._hear("answers", subject))

    def _hear(self, word: str, subject: str) -> Any:
        """Listen until the child says a word, and return what it says of it."""
        for message in self.child.heard():
            if word in message:
                return message[word]
            if "answered" in message:
                total = len(self.questions)
                self.listen(Event("progress", "try", subject, done=message["answered"], total=total, unit=self.unit))
        raise self.child.failure()


@contextmanager
def opened(
    model: Path, request: Request, questions: Sequence[tuple[int, int]], out: Path, listen: Listener
) -> Iterator[Trials]:
    """Load a checkpoint in a process of its own, which ends with this block.

    Args:
        model: Its folder.
        request: What is asked and how it is called.
        questions: The index of a question and a seed for each answer of a trial.
        out: The folder for answers and the log.
        listen: Hears of every answer.

    Raises:
        GenerationError: The checkpoint does not load.
        CannotHereError: A library is missing or the memory did not suffice.
    """
    out.mkdir(parents=True, exist_ok=True)
    with child("pipeline.validate.layer_swap_worker", model, out / LOG) as process:
        trials = Trials(tuple(questions), out, listen, process, f"{TASKS[request.task].medium.noun}s")
        process.say({"model": str(model.resolve()), "request": request.job()})
        trials._hear("loaded", model.name)
        yield trials


def numbers(
    reference: Side,
    candidate: Side,
    prompts: Sequence[Prompt],
    sizes: Sizes,
    wanted: Mapping[str, Sequence[Statistic]],
    judges: Mapping[str, Path],
) -> dict[tuple[str, Statistic], list[float]]:
    """Return what metrics say of a few answers: values or drops prompt by prompt, and what is one number as such.

    Args:
        reference: The source's answers to the same questions.
        candidate: The answers of a trial.
        prompts: All prompts.
        sizes: Bytes of source and result.
        wanted: The metrics, and which numbers of each.
        judges: Folders of models that judge, by metric.
    """
    task, pairs = reference.task, pair_up(reference, candidate, prompts)
    given = MetricInput(pairs, sizes, (reference.answers, candidate.answers), judges)
    found: dict[tuple[str, Statistic], list[float]] = {}
    for name, every in wanted.items():
        metric = task.metrics[name]
        if metric.lacks(given):
            continue
        sample = Sample(metric, metric.measure(given), pairs, all(identical(task, pair) for pair in pairs))
        for of in every:
            number = sample.number(of)
            if number is not None:
                apart = sample.readings and of in {"value", "drop"}
                found[name, of] = sample.numbers(of)[0] if apart else [number.number]
    return found

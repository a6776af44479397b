"""Layer swaps: a few prompts answered with some layers as the source has them; ``layer_swap_worker`` is the process."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from pipeline.events import Listener
from pipeline.tasks.answers import Answer, Request
from pipeline.tasks.metrics import MetricInput, Sizes
from pipeline.validate.findings import Sample
from pipeline.validate.generate import LOG, consumer, progress
from pipeline.validate.layer_swap_worker import Swap
from pipeline.validate.pairs import Prompt, Side, identical, pair_up
from pipeline.validate.report import Statistic
from pipeline.worker.session import Worker


@dataclass
class Trials:
    """A checkpoint that is loaded and waits for trials.

    Attributes:
        model: Its folder.
        request: What is asked and how it is called.
        questions: What is asked in each trial: the index of a question and a seed for each answer.
        out: The folder for all answers.
        listen: Hears of every answer.
        worker: The process.
        done: How many trials there were.
    """

    model: Path
    request: Request
    questions: tuple[tuple[int, int], ...]
    out: Path
    listen: Listener
    worker: Worker
    done: int = 0

    def ask(self, swaps: Sequence[Swap], subject: str) -> tuple[Path, tuple[Answer, ...]]:
        """Ask every question with these layers as the source has them, and return the answers and their folder.

        Raises:
            WorkerDiedError: The checkpoint did not answer; `opened` says why.
        """
        self.done += 1
        folder = self.out / f"trial-{self.done:03d}"
        folder.mkdir(parents=True, exist_ok=True)
        return folder, self.try_on(folder, self.questions, swaps, subject)

    def try_on(
        self, folder: Path, questions: Sequence[tuple[int, int]], swaps: Sequence[Swap], subject: str
    ) -> tuple[Answer, ...]:
        """Ask questions with these layers as the source has them."""
        job = {
            "model": str(self.model.resolve()),
            "request": self.request.job(),
            "out": str(folder.resolve()),
            "questions": questions,
            "swaps": [swap.model_dump(mode="json") for swap in swaps],
        }
        said = self.worker.ask(json.dumps(job), progress(self.listen, "try", subject, self.request))
        return tuple(Answer.model_validate(one) for one in said["answers"])


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
        GenerationError: The checkpoint does not load or answer.
        CannotHereError: A library is missing or the memory did not suffice.
    """
    out.mkdir(parents=True, exist_ok=True)
    with consumer("pipeline.validate.layer_swap_worker", model, out / LOG) as worker:
        trials = Trials(model, request, tuple(questions), out, listen, worker)
        trials.try_on(out, (), (), model.name)  # asks nothing, and loads it
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

"""Trials: a few prompts drawn with some layers of a checkpoint as its source has them; ``swaps`` is the process."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from pipeline.events import Event, Listener
from pipeline.files import disk_errors
from pipeline.quality.answers import Picture, Request
from pipeline.quality.findings import Sample
from pipeline.quality.generate import LOG
from pipeline.quality.generate import _close as close
from pipeline.quality.generate import _failure as failure
from pipeline.quality.generate import _offline_environment as offline_environment
from pipeline.quality.metrics import METRICS, Given, Sizes
from pipeline.quality.pairs import Prompt, Side, identical, pair_up
from pipeline.quality.report import Of
from pipeline.quality.swaps import Swap, Trial


@dataclass
class Trials:
    """A checkpoint that is loaded and waits for trials.

    Attributes:
        model: The checkpoint's folder.
        questions: What is drawn in each trial: the index of a prompt and a seed for each picture.
        out: The folder for all pictures.
        listen: Hears of every picture.
        child: The process.
        done: How many trials there were.
    """

    model: Path
    questions: tuple[tuple[int, int], ...]
    out: Path
    listen: Listener
    child: subprocess.Popen[str]
    done: int = 0

    def draw(self, swaps: Sequence[Swap], subject: str) -> tuple[Path, tuple[Picture, ...]]:
        """Draw every question with these layers as the source has them, and return the pictures and their folder.

        Raises:
            GenerationError: The checkpoint did not answer.
            CannotHereError: The memory did not suffice.
        """
        self.done += 1
        folder = self.out / f"trial-{self.done:03d}"
        folder.mkdir(parents=True, exist_ok=True)
        trial = Trial(out=str(folder.resolve()), questions=self.questions, swaps=tuple(swaps))
        self._say(trial.model_dump_json())
        return folder, tuple(Picture.model_validate(one) for one in self._hear("pictures", subject))

    def _say(self, line: str) -> None:
        try:
            if self.child.stdin is not None:
                self.child.stdin.write(f"{line}\n")
                self.child.stdin.flush()
        except BrokenPipeError:
            return  # it died before it read the line; it is heard of no more, and its log says why

    def _hear(self, word: str, subject: str) -> Any:
        """Listen until the child says a word, and return what it says of it."""
        for line in self.child.stdout or ():
            message = json.loads(line)
            if word in message:
                return message[word]
            if "drawn" in message:
                total = len(self.questions)
                self.listen(Event("progress", "try", subject, done=message["drawn"], total=total, unit="pictures"))
        raise failure(self.child.wait(), self.model, self.out / LOG)


@contextmanager
def opened(
    model: Path, request: Request, questions: Sequence[tuple[int, int]], out: Path, listen: Listener
) -> Iterator[Trials]:
    """Load a checkpoint in a process of its own, which ends with this block.

    Args:
        model: A whole pipeline.
        request: What its prompts are and how it is called.
        questions: The index of a prompt and a seed for each picture of a trial.
        out: The folder for pictures and the log.
        listen: Hears of every picture.

    Raises:
        GenerationError: The checkpoint does not load.
        CannotHereError: A library is missing or the memory did not suffice.
    """
    out.mkdir(parents=True, exist_ok=True)
    with disk_errors(out), (out / LOG).open("wb") as log, _process(log) as child:
        trials = Trials(model, tuple(questions), out, listen, child)
        trials._say(json.dumps({"model": str(model.resolve()), "request": request.model_dump(mode="json")}))
        trials._hear("loaded", model.name)
        yield trials


@contextmanager
def _process(log: IO[bytes]) -> Iterator[subprocess.Popen[str]]:
    """Start the child in a session of its own, so that Ctrl-C reaches this process alone, and see it gone."""
    child = subprocess.Popen(
        [sys.executable, "-P", "-m", "pipeline.quality.swaps"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=log,
        env=offline_environment(),
        text=True,
        encoding="utf-8",
        start_new_session=True,
    )
    try:
        yield child
    finally:
        child.kill()
        child.wait()
        for pipe in (child.stdin, child.stdout):
            if pipe is not None:
                close(pipe)


def numbers(
    reference: Side,
    candidate: Side,
    prompts: Sequence[Prompt],
    sizes: Sizes,
    wanted: Mapping[str, Sequence[Of]],
    judges: Mapping[str, Path],
) -> dict[tuple[str, Of], list[float]]:
    """Return what metrics say of a few pictures: values or drops prompt by prompt, and what is one number as such.

    Args:
        reference: The source's answers to the same questions.
        candidate: The answers of a trial.
        prompts: All prompts.
        sizes: Bytes of source and result.
        wanted: The metrics, and which numbers of each.
        judges: Folders of models that judge, by metric.
    """
    pairs = pair_up(reference, candidate, prompts)
    given = Given(pairs, sizes, (reference.answers, candidate.answers), judges)
    found: dict[tuple[str, Of], list[float]] = {}
    for name, every in wanted.items():
        metric = METRICS[name]
        if metric.lacks(given):
            continue
        sample = Sample(metric, metric.measure(given), pairs, all(map(identical, pairs)))
        for of in every:
            number = sample.number(of)
            if number is not None:
                apart = sample.readings and of != "ratio"
                found[name, of] = sample.numbers(of)[0] if apart else [number.number]
    return found

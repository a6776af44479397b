"""Trials: a recipe's targets made of a small stand-in, judged, and described in a card that nobody is shown.

A trial tells whether a recipe holds together: whether each scheme takes its components, what is made loads as consumers
load it and answers, the pipeline takes the call, and the card can be written. What limits say of weights of chance is
told, and refuses nothing. Nothing is released, and of a Hub no more is asked than what the source is.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from time import monotonic
from typing import Final, Literal, NoReturn

from pydantic import BaseModel, ConfigDict

from localhub.card_rules import errors_of
from pipeline.backends import BACKENDS
from pipeline.backends.available import require
from pipeline.card.render import templates
from pipeline.card.stage import Edition, require_taken, write_card
from pipeline.errors import CannotHereError, PublishError, VerdictError
from pipeline.events import Event, Listener
from pipeline.files import write_atomically
from pipeline.plan.model import TargetPlan
from pipeline.plan.parts import PlannedPrompts
from pipeline.plan.planner import Planner
from pipeline.quantize.build import quantize
from pipeline.quantize.sourcing import Sourcing
from pipeline.recipe import Loaded, Quantization
from pipeline.recipe.prompts import read_pinned
from pipeline.source.layout import Folder, Layout
from pipeline.store import Store
from pipeline.tasks import TASKS
from pipeline.trial.made_up import write_questions
from pipeline.trial.reduced import BUDGET, reduced, tried_parts
from pipeline.trial.stand_in import StandIn, stand_in
from pipeline.validate import Report
from pipeline.validate.judges import Judges
from pipeline.validate.page import Subject, render
from pipeline.validate.page.used import used
from pipeline.validate.prompts import keep_files
from pipeline.validate.stage import Judged, validate

__all__ = ["StandIn", "Trial", "Tried", "stand_in"]

STAGE: Final = "trial"
PROMPTS: Final = 2  # where an answer takes a whole drawing
CHEAP_PROMPTS: Final = 16  # where it takes one pass, and some metrics compare each with ten others
ENFORCED: Final = ("file", "answer")  # what is wrong with these is so whatever the weights


class Tried(BaseModel):
    """What became of one target.

    Attributes:
        state: ``untried`` where nothing of it could be tried.
        stand_in: What took the place of the source.
        verdict: What the limits say of the stand-in.
        told: What was made, what was found, and what could not be tried.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    target: str
    repository: str
    trial: Literal[True] = True
    state: Literal["tried", "untried"] = "untried"
    stand_in: str
    verdict: str | None = None
    source_bytes: int = 0
    result_bytes: int = 0
    seconds: float = 0.0
    told: tuple[str, ...] = ()


@dataclass(frozen=True)
class Trial:
    """The trial of one recipe.

    Attributes:
        written: The recipe.
        targets: Those of its targets that are tried.
        stand_in: What takes the place of its source.
        home: A folder of its own, which ends with it.
        answers: The folder that keeps what libraries say of a component, which is true for whoever asks.
        listen: Hears of everything.
        pages: A folder for a page on each target that was tried; None where nobody wants any.
    """

    written: Loaded
    targets: Sequence[str]
    stand_in: StandIn
    home: Path
    answers: Path
    listen: Listener
    pages: Path | None = None

    def run(self) -> Iterator[Tried | PublishError]:
        """Try the targets one after another, and yield what became of each."""
        for target in self.targets:
            began = monotonic()
            self.listen(Event("started", STAGE, target))
            try:
                tried = self.target(target)
            except PublishError as error:
                self.listen(Event("failed", STAGE, target, seconds=monotonic() - began))
                yield error
                continue
            took = monotonic() - began
            self.listen(Event("finished", STAGE, target, seconds=took))
            for text in tried.told:
                self.listen(Event("note", STAGE, target, text))
            yield tried.model_copy(update={"seconds": round(took, 3)})

    def target(self, target: str) -> Tried:
        """Try one target.

        Raises:
            PublishError: It fails as a run would, whatever the weights.
        """
        repository = self.written.recipe.repositories[target]
        about = Tried(target=target, repository=repository, stand_in=self.stand_in.what)
        wanted, told = self.parts[target]
        if not wanted:
            return about.model_copy(update={"told": tuple(told)})
        for part in wanted.values():
            require(BACKENDS[part.backend], part.scheme)
        plan = self.planner.plan(target).model_copy(update={"repository": repository})
        asked = {name: self.planner.consult(name, part) for name, part in wanted.items()}
        sourcing = Sourcing(self.place, self.layout, self.store, self.home, self.listen)
        origin = sourcing.origin([plan], [asked], quantized=True, asks=True)
        (checkpoint,) = quantize([plan], [asked], origin, self.store, self.listen)
        judges = self.judges.folders(self.store, self.listen)
        judged = validate(plan, origin.folder, checkpoint, judges, self.store, self.listen)
        if self.pages:
            write_atomically(self.pages / f"report-{target}.html", self.page(plan, judged).encode())
        found = self.said(target, judged.report)
        card = write_card(plan, [Edition(plan, checkpoint, judged)], "", self.written.published, self.store)
        require_taken(card, repository, errors_of)
        made = [
            f"{name}: {part.tensors} tensors made {part.quantization.scheme}, loaded and asked"
            for name, part in plan.components.items()
        ]
        return about.model_copy(
            update={
                "state": "tried",
                "verdict": judged.report.verdict,
                "source_bytes": plan.source_bytes,
                "result_bytes": plan.result_bytes,
                "told": (*made, *told, *self.left_out, *found, "the card is written"),
            }
        )

    def page(self, plan: TargetPlan, judged: Judged) -> str:
        """Return the page on what was tried, which says of itself that the source was not."""
        about = f"{plan.repository}, tried on {self.stand_in.what}"
        facts = used(plan, str(self.recipe.recipe.validation.prompts))
        return render(Subject(plan.target, about, judged.report, judged.reference, judged.candidate, {}, facts))

    def said(self, target: str, report: Report) -> list[str]:
        """Return what the limits say of the stand-in.

        Raises:
            VerdictError: What was made is not what was asked for, or its answers are none.
        """
        wrong = [reason.text for reason in report.reasons if reason.about in ENFORCED and reason.verdict != "PASS"]
        if wrong:
            remedy = "Choose another scheme, or let `keep` name what it spoils."
            raise VerdictError(
                f"What was made of the stand-in is broken: {' '.join(wrong)}", where=target, remedy=remedy
            )
        of = "few prompts" if self.stand_in.trained else "random weights, which says nothing of the source"
        return [f"{reason.verdict} with {of}: {reason.text}" for reason in report.reasons]

    @cached_property
    def _reduced(self) -> tuple[Loaded, list[str]]:
        return reduced(self.written, self.stand_in)

    @property
    def recipe(self) -> Loaded:
        """The recipe as it is tried."""
        return self._reduced[0]

    @property
    def left_out(self) -> list[str]:
        """What of the recipe is not tried, whatever the target."""
        return self._reduced[1]

    @cached_property
    def parts(self) -> dict[str, tuple[dict[str, Quantization], list[str]]]:
        """What is tried of each target, and why the rest is not."""
        recipe = self.written.recipe
        return {
            target: ({}, [BUDGET])
            if recipe.budget(target)
            else tried_parts(recipe.named(target), self.stand_in, self.layout, self.place)
            for target in self.targets
        }

    @cached_property
    def planner(self) -> Planner:
        """What plans all targets as they are tried; the libraries are asked at once."""
        wanted = {target: parts for target, (parts, _) in self.parts.items() if parts}
        recipe = self.recipe.recipe.model_copy(update={"targets": wanted})
        loaded = replace(self.recipe, recipe=recipe)
        planner = Planner(loaded, self.place, self.judges.pins, self.answers, templates(), self.prompts)
        planner.ask_ahead(wanted)
        return planner

    @cached_property
    def store(self) -> Store:
        """The results."""
        return Store(self.home / "store", self.listen)

    @cached_property
    def place(self) -> Folder:
        """The stand-in as a source."""
        return Folder(self.stand_in.folder)

    @cached_property
    def layout(self) -> Layout:
        """The stand-in's components."""
        return TASKS[self.written.recipe.task].layout(self.place)

    @cached_property
    def judges(self) -> Judges:
        """The models that judge and lie in folders."""
        return Judges(self.recipe, nowhere)

    @cached_property
    def prompts(self) -> PlannedPrompts:
        """The first prompts; made-up ones in place of a dataset's.

        Raises:
            CannotHereError: They come with files of which none can be made up.
        """
        recipe, task = self.written.recipe, TASKS[self.written.recipe.task]
        most, named = PROMPTS if task.seeded else CHEAP_PROMPTS, recipe.validation.prompts
        invented = None if isinstance(named, str) else write_questions(task, most, self.home / "made-up")
        prompts, files = read_pinned(invented or self.written.resolve(str(named)), task.form)
        if task.exact and not self.stand_in.itself:  # random weights hear the same, whatever is said
            prompts = tuple(one.model_copy(update={"label": ""}) for one in prompts)
        asked = PlannedPrompts(prompts=prompts[:most])
        wanted = {name for one in asked.prompts for name in one.files.values()}
        keep_files(task, asked, {name: files[name] for name in wanted}, self.store)
        return asked


def nowhere(repo: str, revision: str | None) -> NoReturn:
    """Refuse to look for a repository: what lies on a Hub is no part of a trial.

    Raises:
        CannotHereError: Always.
    """
    raise CannotHereError("A trial asks no Hub.", where=f"{repo}@{revision}")

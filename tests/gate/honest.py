"""What the gate is tried on: the targets of a recipe as the pipeline makes them, and what is asked of them."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

import pipeline
from pipeline.backends import SCHEMES
from pipeline.card.render import templates
from pipeline.events import silent
from pipeline.hub.client import Hub
from pipeline.plan.model import TargetPlan
from pipeline.plan.questions import questions_folder, request_of
from pipeline.quantize.build import quantize
from pipeline.recipe import Vocabulary, load
from pipeline.run import Engine
from pipeline.tasks import TASKS
from pipeline.tasks.answers import Request
from pipeline.tasks.metrics import Sizes
from pipeline.validate import Evidence, Report, Side, generate, judge
from pipeline.validate.consumer import answer
from pipeline.validate.generate import ANSWERS
from pipeline.validate.stage import (
    asked_again,
    made_layers,
    prompts_of,
    resolved_requirements,
    side,
    weight_of,
)

RECIPES = Path(pipeline.__file__).parents[1] / "recipes"
DIGITS = RECIPES / "digits"
TWO_BITS = {"quanto-int2": {"transformer": {"backend": "quanto", "scheme": "int2"}}}
NOWHERE = "http://127.0.0.1:9"  # no Hub is asked


@dataclass
class Bench:
    """A folder to work in, with the recipe in it.

    Attributes:
        recipe: The folder of the recipe, with its source in it.
        folder: Where everything lies: the sealed results, copies that are spoiled, answers.
        more: Further targets of it.
        first: Prompts, by their place, that a sample has before others.
        prompts: How many of the recipe's prompts are drawn; all of them if none.
        seeds: With which seeds; the recipe's if none.
        plans: Of each target, once they are made.
        checkpoints: Its folder.
        require: The recipe's bar.
        files: The folder of what prompts ask about, where they ask about files.
    """

    recipe: Path
    folder: Path
    more: Mapping[str, Any] = field(default_factory=dict)
    first: tuple[int, ...] = ()
    prompts: int | None = None
    seeds: tuple[int, ...] | None = None
    plans: dict[str, TargetPlan] = field(default_factory=dict)
    checkpoints: dict[str, Path] = field(default_factory=dict)
    require: Mapping[str, Any] = field(default_factory=dict)
    files: Path | None = None

    def make(self, targets: Sequence[str]) -> None:
        """Plan and quantize targets in one pass over the source, as a run does it; the source is made if need be."""
        for made in ("source", "clips"):
            script = (self.recipe / made).with_suffix(".py")
            if script.exists() and not (self.recipe / made).exists():
                subprocess.run([sys.executable, script], check=True)
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / "recipe.yaml"
        YAML().dump(written(self.recipe, self.more), path)
        hub = Hub(NOWHERE)
        loaded = load(path, Vocabulary(SCHEMES, frozenset(templates()), TASKS))
        engine = Engine(loaded, self.folder / "home", hub, hub, silent)
        engine.prepare(targets)
        self.plans = {target: engine.planner.plan(target) for target in targets}
        plans = list(self.plans.values())
        asked = [engine.asked(plan) for plan in plans]
        origin = engine.sourcing.origin(plans, asked, quantized=True, asks=False)
        made = quantize(plans, asked, origin, engine.store, silent)
        self.checkpoints = dict(zip(self.plans, made, strict=True))
        self.require = resolved_requirements(self.plan.validation.require, engine.judges.folders(engine.store, silent))
        self.files = questions_folder(self.plan.validation, engine.store)

    @property
    def source(self) -> Path:
        """The folder of the source."""
        return self.recipe / "source"

    @property
    def plan(self) -> TargetPlan:
        """Any of the plans: what is asked is the same for all targets."""
        return next(iter(self.plans.values()))

    @property
    def request(self) -> Request:
        """What both sides draw."""
        whole = request_of(self.plan, self.files)
        few = tuple(whole.questions[place] for place in self.drawn(len(whole.questions)))
        return whole.model_copy(update={"questions": few, "seeds": self.seeds or whole.seeds})

    def drawn(self, count: int) -> list[int]:
        """Return the places of the prompts that are drawn, of so many."""
        return [*self.first, *(place for place in range(count) if place not in self.first)][: self.prompts]

    @property
    def repeats(self) -> Sequence[tuple[int, int]]:
        """What a run asks the source a second time."""
        return asked_again(self.request)

    @cached_property
    def reference(self) -> Side:
        """The source's own answers, which all share."""
        return self.answers("source", self.source, again=True)

    def answers(self, name: str, model: Path, *, again: bool = False) -> Side:
        """Have a pipeline answer in a fresh process, some of it a second time where that is asked for."""
        out = self.folder / "answers" / name
        if not (out / ANSWERS).exists():
            generate(model, self.request, out, repeats=self.repeats if again else (), look=True)
        return side(out)

    def answers_here(self, name: str, model: Path, *, again: bool = False) -> Side:
        """Have a pipeline answer by the same code in this process, which saves the libraries' imports."""
        out = self.folder / "answers" / name
        out.mkdir(parents=True, exist_ok=True)
        return Side(answer(model, self.request, out, _unheard, self.repeats if again else (), look=True), out)

    def verdict(self, reference: Side, answered: Side, checkpoint: Path) -> Report:
        """Judge answers as a run does; the source itself need not be smaller than it is."""
        sizes = Sizes(source=self.plan.source_bytes, result=weight_of(checkpoint))
        kept = {
            name: limits for name, limits in self.require.items() if name != "size_ratio" or checkpoint != self.source
        }
        every = prompts_of(self.plan.validation)
        prompts = [every[place] for place in self.drawn(len(every))]
        return judge(reference, answered, prompts, kept, sizes, Evidence(made_layers(checkpoint)))


def written(folder: Path, more: Mapping[str, Any]) -> dict[str, Any]:
    """Return the recipe in a folder with all that it names where it lies, and with further targets."""
    recipe: dict[str, Any] = YAML(typ="safe").load(folder / "recipe.yaml")
    recipe |= {"source": {"path": str(folder / "source")}, "targets": recipe["targets"] | more}
    validation = recipe["validation"]
    validation["prompts"] = str(folder / validation["prompts"])
    for limits in validation["require"].values():
        if "model" in limits:
            limits["model"] = str(folder / limits["model"])
    return recipe


def _unheard(_done: int, _total: int) -> None:
    """What a consumer tells of its progress."""

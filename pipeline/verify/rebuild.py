"""Rebuild: a published checkpoint made again from its recipe, apart from everything that was made before."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from pipeline.errors import CannotHereError, PublishError
from pipeline.events import Event, Listener
from pipeline.files import disk_errors, emptied, link_or_copy, write_atomically
from pipeline.hub.client import Hub
from pipeline.locks import Lock
from pipeline.plan.model import TargetPlan, samples_of
from pipeline.recipe import Loaded, Recipe
from pipeline.recipe.prompts import MESSAGES, TEXT, Question
from pipeline.run import Engine


@dataclass(frozen=True)
class ReleaseRebuild:
    """Where checkpoints are made again.

    Attributes:
        home: A folder of its own, as `workroom` gives it.
        hub: The first place where the source is looked for.
        fallback: The other one.
        listen: Hears of everything.
        local: The recipe at hand, which knows where a source in a folder lies.
    """

    home: Path
    hub: Hub
    fallback: Hub
    listen: Listener
    local: Loaded | None = None

    def rebuild(self, plan: TargetPlan, recipe: Recipe, questions: Path) -> tuple[Path, ...]:
        """Make the checkpoints of a plan again and return the folder of each edition.

        Args:
            plan: As published.
            recipe: As published.
            questions: A folder with the further files of what was asked.

        Raises:
            PublishError: It cannot be made here.
        """
        away = [f"source is the folder {plan.source.path}"] if plan.source.repo is None else []
        away += [f"LoRA is {lora.path} of a disk" for lora in plan.fused if lora.repo is None]
        if away and self.local is None:
            remedy = "Give the recipe beside which it lies with --recipe."
            raise CannotHereError(f"Its {away[0]}.", where=plan.repository, remedy=remedy)
        engine = Engine(self.unjudged(plan, recipe, questions), self.home, self.hub, self.fallback, self.listen)
        engine.prepare([plan.target])
        for ended in engine.run([plan.target], stop_after="quantize"):
            if isinstance(ended, PublishError):
                raise ended
        made, _ = engine.plan(plan.target)
        return tuple(engine.store.root / "checkpoint" / edition.build_key for edition in made.editions)

    def unjudged(self, plan: TargetPlan, recipe: Recipe, questions: Path) -> Loaded:
        """Return a recipe that makes the same bytes, and asks for nothing that only judging them needs."""
        prompts = self.home / "prompts.jsonl"
        samples = max(samples_of(part) for _, part in plan.artifacts)
        asked = plan.validation.prompts[: max(samples, 1)]
        for name in {name for one in asked for name in one.files.values()}:
            link_or_copy(questions / name, self.home / name)  # they have to lie beside the prompts
        write_atomically(prompts, "\n".join(map(line_of, asked)).encode())
        require = type(recipe.validation.require).model_validate({"size_ratio": {"max": 1.0}})
        validation = recipe.validation.model_copy(update={"prompts": str(prompts), "require": require})
        path = self.local.path if self.local else self.home / "recipe.yaml"
        made = {
            plan.target: {
                name: tuple(each.quantization for each in (part, *plan.further.get(name, ())))
                for name, part in plan.components.items()
            }
        }
        loras = tuple(lora for lora in recipe.loras if lora.how == "fused")
        changed = {"targets": made, "validation": validation, "loras": loras}
        return Loaded(recipe.model_copy(update=changed), path, b"")


def line_of(question: Question) -> str:
    """Return the line of a prompts file that asks a question whose further files lie beside it."""
    asked = question.model_dump(mode="json", include={MESSAGES, TEXT})
    said = {} if question.messages else {"prompt": question.prompt}
    return json.dumps(said | asked | question.files)


@contextmanager
def workroom(home: Path, listen: Listener) -> Iterator[Path]:
    """Return an empty folder of a home for a rebuild, which is gone afterwards; one process at a time has it.

    Args:
        home: The home.
        listen: Hears of waiting for another process.
    """

    def waiting(process: str) -> None:
        listen(Event("note", "rebuild", "", f"waits for process {process or '?'}, which makes one again in this home"))

    with disk_errors(home), Lock(home / "locks" / "rebuild") as lock:
        lock.alone(waiting)
        with emptied(home / "rebuild") as folder:
            yield folder

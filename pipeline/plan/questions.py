"""Questions: what a plan asks of the source and of each candidate, and where the files of it lie."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

from pipeline.files import digest_of
from pipeline.plan.parts import PlannedPrompts
from pipeline.store import Store
from pipeline.tasks.answers import Request

if TYPE_CHECKING:
    from pipeline.plan.model import TargetPlan

FILES: Final = "questions"


def request_of(plan: TargetPlan, folder: Path | None = None) -> Request:
    """Return the questions that both sides answer.

    Args:
        plan: The plan.
        folder: Where the files of the questions lie, for somebody who asks them.
    """
    return Request(
        task=plan.task,
        questions=tuple(one.question for one in plan.validation.prompts),
        folder=folder,
        seeds=plan.validation.seeds,
        call=plan.validation.call,
        dtype=plan.dtype,
    )


def questions_folder(planned: PlannedPrompts, store: Store) -> Path | None:
    """Return the folder with the further files of some questions; None where they have none."""
    return store.look(FILES, files_key(planned))


def files_key(planned: PlannedPrompts) -> str:
    """Return the digest of which further files some questions have."""
    return digest_of(sorted({name for prompt in planned.prompts for name in prompt.files.values()}))

"""Inputs: the largest value that each layer is given while the source answers questions, measured once for all targets.

A static scheme needs it for the scale of its activations. It is a result like any other: sealed in the store by all
that it depends on, found there by an interrupted run, and written down in what is published.
"""

from __future__ import annotations

import json
import shutil
import signal
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from pipeline.backends.oracle.conversion import installed_versions
from pipeline.backends.oracle.single_file import SingleFile
from pipeline.errors import CannotHereError, PublishError, QuantizationError, RecipeError
from pipeline.events import Event, Listener
from pipeline.files import digest_of, pretty_json, write_atomically
from pipeline.plan.model import ResolvedComponent, TargetPlan, samples_of, watched
from pipeline.plan.questions import questions_folder, request_of
from pipeline.store import Store
from pipeline.tasks import TASKS
from pipeline.tasks.answers import Request
from pipeline.worker.process import temporary_folder
from pipeline.worker.session import WorkerDiedError, error_of, opened

if TYPE_CHECKING:
    from pipeline.quantize.build import Origin

INPUTS: Final = "inputs"
FILE: Final = "inputs.json"
DECIDING: Final = ("quantpress", "torch", "diffusers", "transformers")

Inputs = Mapping[str, Mapping[str, float]]
"""By component and module the largest absolute value that it was given."""


def inputs_of(
    plan: TargetPlan, parts: Mapping[str, ResolvedComponent], origin: Origin, store: Store, listen: Listener
) -> Inputs:
    """Return what the layers of streamed components are given whose scheme is calibrated; nothing where none is.

    Args:
        plan: The target's plan.
        parts: What is known of each component to quantize.
        origin: The source, all of it on this disk.
        store: Where it is kept.
        listen: Hears of progress in answers.

    Raises:
        RecipeError: No question has a layer compute anything.
        SourceError: The source computes what is no number.
        CannotHereError: The memory does not suffice, or something is missing.
        QuantizationError: The source does not answer.
    """
    names = watched_in(plan)
    if not names:
        return {}
    request = asked_by(plan, names, questions_folder(plan.validation, store))

    def build(folder: Path) -> None:
        whole = all(name == source for name, source in origin.layout.published.items())
        model = origin.folder if whole else folder / "source"
        if not whole:
            origin.put({}, model)
        job = {"model": str(model.resolve()), "request": request.job(), "components": names}
        unit = f"{TASKS[plan.task].medium.noun}s"

        def tell(done: int, total: int) -> None:
            listen(Event("progress", "quantize", plan.target, "calibration", done, total, unit))

        found = measured(json.dumps(job), plan.source.where, tell)
        shutil.rmtree(folder / "source", ignore_errors=True)
        write_atomically(folder / FILE, pretty_json(found))

    found: Inputs = json.loads((store.make(INPUTS, inputs_key(plan), build) / FILE).read_bytes())
    for name in names:
        require_seen(parts[name], found[name])
    return found


def in_one_tensor(given: Mapping[str, float], file: SingleFile | None) -> Mapping[str, float]:
    """Return what layers are given, those that lie in one tensor of a file as much as the most of them.

    Args:
        given: By module the largest absolute value that it was given.
        file: What lies in one tensor; None where each layer has its own.
    """
    tensors = file.tensors.values() if file else ()
    together = [{rows.tensor.removesuffix(".weight") for rows in tensor.rows} for tensor in tensors]
    most = {name: max(given[one] for one in names) for names in together if names <= given.keys() for name in names}
    return {**given, **most}


def watched_in(plan: TargetPlan) -> list[str]:
    """Return the components of a target whose layers are watched."""
    return sorted(name for name, part in plan.components.items() if watched(part))


def asked_by(plan: TargetPlan, names: Sequence[str], folder: Path | None = None) -> Request:
    """Return what the source is asked meanwhile: as many questions as the component wants that wants most."""
    return request_of(plan, folder).only(max((samples_of(plan.components[name]) for name in names), default=1), 1)


def inputs_key(plan: TargetPlan) -> str:
    """Return the digest of what depends on nothing of the target but its source and what it is asked."""
    names = watched_in(plan)
    request = asked_by(plan, names).model_dump(mode="json")
    return digest_of([plan.source_content, request, names, installed_versions(DECIDING)])


def measured(job: str, where: str, tell: Callable[[int, int], None]) -> dict[str, dict[str, float]]:
    """Have the source asked in a process of its own, and return what its layers were given.

    Raises:
        PublishError: It cannot be.
    """
    try:
        with temporary_folder("publish-log-") as folder, opened("pipeline.quantize.watching", folder / "log") as worker:
            said = worker.ask(job, tell)
            worker.finish()
    except WorkerDiedError as error:
        raise failure_of(error, where) from error
    if "error" in said:
        raise error_of(said, where)
    return dict(said["inputs"])


def failure_of(error: WorkerDiedError, where: str) -> PublishError:
    """Return the error for a process that ended badly."""
    if error.hung or error.code == -signal.SIGKILL:
        remedy = "It takes the memory of the whole source: use a machine with more, or a scheme without questions."
        return CannotHereError(f"The source cannot be asked on this machine: {error}.", where=where, remedy=remedy)
    what = f"The source did not answer the questions that calibrate it: {error}."
    return QuantizationError(what, where=where, remedy="Ask other questions, or choose a scheme that needs none.")


def require_seen(part: ResolvedComponent, found: Mapping[str, float]) -> None:
    """Refuse a component of which a quantized layer was given nothing, so that nothing tells its scale.

    Raises:
        RecipeError: There is one.
    """
    for source, conversion in part.answer.conversions.items():
        module = conversion.name_of(source).removesuffix(".weight")
        if conversion.quantized and not found.get(module):
            given = "nothing but zeros" if module in found else "nothing"
            raise RecipeError(
                f"The questions give {given} to the layer {module!r}, so that no scale of its activations is known.",
                where=part.component.name,
                remedy="Keep it with keep:, ask other questions, or choose a scheme that needs none.",
            )

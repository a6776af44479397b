"""Validate: source and checkpoint answer the same questions in fresh processes, and the recipe's bar decides."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from pipeline.errors import GenerationError, SourceError, VerdictError
from pipeline.events import Event, Listener
from pipeline.files import digest_of, files_under, pretty_json, write_atomically
from pipeline.hub.release_files import REPORT as PUBLISHED
from pipeline.plan.model import TargetPlan
from pipeline.plan.parts import PlannedPrompts
from pipeline.plan.questions import questions_folder, request_of
from pipeline.quantize.build import MEASURED, measured
from pipeline.store import Store
from pipeline.tasks import TASKS
from pipeline.tasks.answers import Answers, Request
from pipeline.tasks.metrics import Sizes
from pipeline.validate import Evidence, Prompt, Report, Side, generate, judge
from pipeline.validate.generate import ANSWERS
from pipeline.validate.preload import judges_imported
from pipeline.validate.report import CompatibilityCheck

REPORT = "report.json"
JUDGED = "report"
REFERENCE = "reference"  # the source's answers
CANDIDATE = "answers"  # a checkpoint's
NEXT = {
    "FAIL": "let `publish tune` propose what to keep, choose another scheme or correct the requirement; these prompts "
    "decide once, and where a mean lies just at its limit one sample in forty fails by chance: other prompts in the "
    "recipe are another look",
    "INCONCLUSIVE": "give more prompts, choose another scheme or correct the requirement",
}
DECIDING = ("quantpress", "torch", "diffusers", "transformers")  # distributions that decide over a source's answers
AGAIN_ONE_IN = 16  # answers of the source that are asked for a second time, to know its own noise
AGAIN_LEAST = 2  # prompts of them

Hearing = Callable[[], AbstractContextManager[Listener]]
"""What is done while a model answers, entered only where one is asked; gives who hears of its answers."""


@dataclass(frozen=True)
class Judged:
    """A report with the folders whose answers it speaks of."""

    report: Report
    reference: Path
    candidate: Path


def validate(  # noqa: PLR0913, PLR0917 - what is judged, by what, and where it is kept
    plan: TargetPlan,
    source: Path,
    checkpoint: Path,
    judges: dict[str, Path],
    store: Store,
    listen: Listener,
    uses: Sequence[CompatibilityCheck] = (),
) -> Judged:
    """Judge a checkpoint against its source, or return what was judged before.

    The source's answers are shared by all targets that ask it the same, and a checkpoint's by all limits: whoever
    corrects a requirement asks nothing again.

    Args:
        plan: The target's plan, with the questions and the bar.
        source: The folder of the source.
        checkpoint: The folder of the checkpoint.
        judges: The folders of judging models by metric.
        store: Where answers and reports are kept.
        listen: Hears one event an answer.
        uses: What users do next, as it was tried.

    Raises:
        GenerationError: The checkpoint does not load or does not run.
        SourceError: The source itself does not answer, or its answers are degenerate.
    """
    own, drawn = ask_both(plan, source, checkpoint, store, listen, judged=bool(judges))

    def build(out: Path) -> None:
        requirements = resolved_requirements(plan.validation.require, judges)
        sizes = Sizes(source=plan.source_bytes, result=weight_of(checkpoint))
        prompts = prompts_of(plan.validation)
        besides = Evidence(made_layers(checkpoint), tuple(uses))
        report = judge(side(own), side(drawn), prompts, requirements, sizes, besides)
        write_atomically(out / REPORT, pretty_json(report.model_dump(mode="json")))

    judged = store.make(JUDGED, plan.verdict_key, build)
    return Judged(Report.model_validate_json((judged / REPORT).read_bytes()), own, drawn)


def ask_both(
    plan: TargetPlan, source: Path, checkpoint: Path, store: Store, listen: Listener, *, judged: bool = False
) -> tuple[Path, Path]:
    """Return the folders of the source's answers and of the checkpoint's, each of which is asked once.

    Raises:
        GenerationError: The checkpoint does not load or does not run.
        SourceError: The source itself does not answer.
    """
    request = request_of(plan, questions_folder(plan.validation, store))
    hearing = partial(meanwhile, request, judged, plan.target, listen)
    own = ask_source(source, request, reference_key(plan, request), store, hearing)
    return own, store.make(CANDIDATE, candidate_key(plan), lambda out: answer(checkpoint, request, out, hearing))


def judged_before(plan: TargetPlan, store: Store) -> Judged | None:
    """Return what was judged before, with the answers; nothing where any of it is missing."""
    judged, own = store.look(JUDGED, plan.verdict_key), reference_answers(plan, store)
    drawn = store.look(CANDIDATE, candidate_key(plan))
    if judged is None or own is None or drawn is None:
        return None
    return Judged(Report.model_validate_json((judged / REPORT).read_bytes()), own, drawn)


def weight_of(checkpoint: Path) -> int:
    """Return the bytes of a checkpoint, without what was measured when it was made."""
    return sum(path.stat().st_size for path in files_under(checkpoint) if path != checkpoint / MEASURED)


def ask_source(source: Path, request: Request, key: str, store: Store, hearing: Hearing) -> Path:
    """Return the folder of the source's answers, with some given twice; it is asked once.

    Raises:
        SourceError: The source itself does not answer.
    """

    def ask(out: Path) -> None:
        try:
            answer(source, request, out, hearing, asked_again(request))
        except GenerationError as error:
            raise SourceError(f"The source itself did not answer. {error.what}", where=error.where) from error

    return store.make(REFERENCE, key, ask)


def reference_answers(plan: TargetPlan, store: Store) -> Path | None:
    """Return the folder with the source's answers, where it was asked before."""
    return store.look(REFERENCE, reference_key(plan, request_of(plan)))


def earlier_failure(plan: TargetPlan, store: Store) -> VerdictError | None:
    """Return the error of a verdict that was given before and was not PASS.

    A run that was killed between verdict and setting aside left the checkpoint in its place; it is moved now.
    """
    judged = judged_before(plan, store)
    if judged is None or judged.report.verdict == "PASS":
        return None
    if not (store.root / "failed" / failed_name(plan)).exists():
        set_aside(plan, judged.report, store)
    return failure(plan, judged, store)


def refuse(plan: TargetPlan, judged: Judged, store: Store) -> VerdictError:
    """Move a checkpoint that failed to where no later stage looks, and return the error to raise."""
    set_aside(plan, judged.report, store)
    return failure(plan, judged, store)


def set_aside(plan: TargetPlan, report: Report, store: Store) -> None:
    """Move a checkpoint away, with the plan that made it and the report that says why."""
    documents = {"plan.json": plan, REPORT: report}
    written = {name: pretty_json(document.model_dump(mode="json")) for name, document in documents.items()}
    store.set_aside("checkpoint", plan.build_key, failed_name(plan), written)


def failure(plan: TargetPlan, judged: Judged, store: Store) -> VerdictError:
    """Return the error for a verdict that is not PASS."""
    aside = store.root / "failed" / failed_name(plan)
    next_step = NEXT[judged.report.verdict]
    return VerdictError(
        f"The verdict is {judged.report.verdict}: {judged.report.why} Nothing was published.",
        where=plan.target,
        remedy=f"Look at it with `publish report RECIPE --target {plan.entry}` (the build is in {aside}, its answers "
        f"are in {judged.candidate}), then {next_step}; without the answers' folder it is judged anew.",
    )


def failed_name(plan: TargetPlan) -> str:
    """Return the name under which a failed build is kept."""
    return f"{plan.target}-{plan.verdict_key[:12]}"


def reference_key(plan: TargetPlan, request: Request) -> str:
    """Return the digest of what the source's answers depend on."""
    return source_key(plan.source_content, plan.versions, request)


def candidate_key(plan: TargetPlan) -> str:
    """Return the digest of what a checkpoint's answers depend on."""
    return digest_of([plan.build_key, request_of(plan).model_dump(mode="json")])


def source_key(content: Mapping[str, Any], versions: Mapping[str, str], request: Request) -> str:
    """Return the digest of what the answers of a source with this content depend on."""
    deciding = {name: versions[name] for name in DECIDING if name in versions}
    return digest_of([content, deciding, request.model_dump(mode="json")])


def asked_again(request: Request) -> tuple[tuple[int, int], ...]:
    """Return what the source is asked a second time: questions spread over all of them, with the first seed."""
    every = len(request.questions)
    count = max(every * len(request.seeds) // AGAIN_ONE_IN, min(AGAIN_LEAST, every))
    step = every / min(count, every)
    return tuple((int(index * step), request.seeds[0]) for index in range(min(count, every)))


def made_layers(checkpoint: Path) -> dict[str, float | None]:
    """Return the SQNR that quantization measured, in decibels by ``component/layer``; a release's report repeats it."""
    found = measured(checkpoint) if (checkpoint / MEASURED).exists() else {}
    if (checkpoint / PUBLISHED).exists():
        found = json.loads((checkpoint / PUBLISHED).read_bytes())["weights"]
    return {
        f"{component}/{tensor.removesuffix('.weight')}": decibels
        for component, part in found.items()
        for tensor, decibels in part["sqnr"].items()
    }


def answer(model: Path, request: Request, out: Path, hearing: Hearing, repeats: Sequence[tuple[int, int]] = ()) -> None:
    """Ask a model everything, in a process of its own."""
    with hearing() as hear:
        generate(model, request, out, hear, repeats=repeats, look=True)


@contextmanager
def meanwhile(request: Request, judged: bool, target: str, listen: Listener) -> Iterator[Listener]:
    """Import what measuring takes while a model loads, and pass on what is heard of its answers under a target's name.

    Args:
        request: What is asked.
        judged: Whether models judge.
        target: The target's name.
        listen: Hears of every answer.
    """
    medium = TASKS[request.task].medium
    with judges_imported((*medium.imports, *(medium.judge_imports if judged else ()))) as enough:

        def named(event: Event) -> None:
            enough()  # answers are timed
            listen(Event("progress", "validate", target, event.text, event.done, event.total, event.unit))

        yield named


def side(folder: Path) -> Side:
    """Return a folder of finished answers as one side of the comparison."""
    return Side(Answers.model_validate_json((folder / ANSWERS).read_bytes()), folder)


def prompts_of(asked: PlannedPrompts) -> list[Prompt]:
    """Return the prompts with their labels, as they are judged."""
    return [Prompt(text=prompt.prompt, label=prompt.label) for prompt in asked.prompts]


def resolved_requirements(require: Mapping[str, Any], judges: Mapping[str, Path]) -> dict[str, Any]:
    """Return the recipe's requirements with judging models as folders."""
    found = {name: dict(limits) for name, limits in require.items()}
    for name, folder in judges.items():
        found[name] = {**found[name], "model": str(folder)}
        found[name].pop("revision", None)
    return found

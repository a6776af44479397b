"""The proposal as a change of the recipe's file, with what was measured beside it."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping

from pipeline.backends import BACKENDS
from pipeline.errors import PublishError, RecipeError
from pipeline.files import write_atomically
from pipeline.recipe import InvalidRecipe, Loaded, Quantization, Vocabulary, read_recipe
from pipeline.recipe.change import changed
from pipeline.tasks import TASKS
from pipeline.tasks.metrics import Metric
from pipeline.tune.values import Tuned, TuningCandidate
from pipeline.validate.limits import amount
from pipeline.validate.report import Interval


def propose(loaded: Loaded, every: Iterable[Tuned], vocabulary: Vocabulary) -> str:
    """Return the recipe's text with what is proposed for its targets.

    Raises:
        PublishError: The changed text does not say what was tried, which is a defect.
        RecipeError: Something else in the recipe goes with what it said before.
    """
    text = loaded.text.decode("utf-8-sig")
    for tuned in every:
        if tuned.proposal is None:
            continue
        change = {
            name: part if part is None or name in loaded.begun else sparing(part)
            for name, part in tuned.proposal.change.items()
        }
        text = changed(text, tuned.target, change, remark(tuned, tuned.proposal), loaded.begun)
        wanted = {**loaded.recipe.named(tuned.target), **tuned.proposal.change}
        try:
            said = read_recipe(text.encode(), str(loaded.path), vocabulary, loaded.path.parent).named(tuned.target)
        except InvalidRecipe as error:  # such as a default of a component that no target quantizes any more
            what = f"With the proposal in it the recipe would have a problem: {error.problems[0].message}."
            raise RecipeError(what, where=str(loaded.path), remedy="Enter what is proposed by hand.") from error
        if dict(said) != {name: part for name, part in wanted.items() if part}:
            raise PublishError("The proposal cannot be written into the recipe.", where=str(loaded.path))
    return text


def rewrite(loaded: Loaded, after: str) -> None:
    """Write the changed text into the recipe's file.

    Raises:
        RecipeError: The file is no longer what was tuned.
    """
    if loaded.path.read_bytes() != loaded.text:
        what = "The recipe was changed while it was tuned, and is left as it is."
        raise RecipeError(what, where=str(loaded.path), remedy="Enter what is proposed by hand.")
    write_atomically(loaded.path, after.encode())


def difference(loaded: Loaded, after: str) -> str:
    """Return the proposal as a unified diff of the recipe's file."""
    before, name = loaded.text.decode("utf-8-sig"), loaded.path.name
    lines = difflib.unified_diff(before.splitlines(keepends=True), after.splitlines(keepends=True), name, name)
    return "".join(line if line.endswith("\n") else f"{line}\n" for line in lines)


def remark(tuned: Tuned, proposal: TuningCandidate) -> str:
    """Return what was measured, in one line: of the proposal, and of the target as it was written."""
    measured, written = measurements(tuned.task, proposal.found), measurements(tuned.task, tuned.found, intervals=False)
    size, before = f"{proposal.size_ratio:.2f} of the size", f"{tuned.size_ratio:.2f} of the size"
    where = f"on {tuned.unseen} prompts that were not tried"
    return f"{measured} {where}, {size}; as written {written}, {before}, {tuned.verdict}"


def measurements(task: str, found: Mapping[str, Interval], *, intervals: bool = True) -> str:
    """Return what was found of each required metric, without the size, which is told apart."""
    metrics = TASKS[task].metrics
    return ", ".join(
        f"{word} {shown(metrics[word.split()[0]], one, intervals=intervals)}"
        for word, one in found.items()
        if not word.startswith("size_ratio")
    )


def shown(metric: Metric, found: Interval, *, intervals: bool) -> str:
    """Return a number with its unit, and the interval that holds it."""
    between = f" ({found.low:.3g} to {found.high:.3g})" if intervals and found.low != found.high else ""
    return f"{amount(found.number, metric.unit)}{between}"


def sparing(quantization: Quantization) -> Quantization:
    """Return a quantization without the options that are the default anyway."""
    usual = BACKENDS[quantization.backend].SCHEMES[quantization.scheme].options().model_dump(mode="json")
    options = {name: value for name, value in quantization.options.items() if value != usual.get(name)}
    return quantization.model_copy(update={"options": options})


def told(tuned: Tuned) -> str:
    """Return what tuning came to, for people."""
    found = measurements(tuned.task, tuned.found)
    lines = [f"{tuned.target}: {tuned.verdict} as written: {found}, {tuned.size_ratio:.3g} of the size"]
    if tuned.verdict == "PASS":
        return f"{lines[0]}. It passes; nothing is to be done."
    task = TASKS[tuned.task]
    unit = f" {task.metrics[task.medium.ranking].unit}".rstrip()
    lines += [
        f"  {group.gain:+8.3g}{unit} for {group.size / 1e3:.1f} kB: {group.name} ({group.layers} layers)"
        for group in tuned.groups
    ]
    for attempt in tuned.attempts:
        few = f"{'holds' if attempt.holds else 'does not hold'} on few prompts"
        said = f"{attempt.verdict}, {measurements(tuned.task, attempt.found)}" if attempt.verdict else few
        lines.append(f"  {attempt.size_ratio:.3g} of the size, {said}: {attempt.words}")
    judged = f"by {tuned.unseen} prompts on which nothing was tried"
    end = f"proposes {tuned.proposal.words}, {judged}" if tuned.proposal else "found nothing that passes"
    return "\n".join([*lines, f"{tuned.target}: {end} ({tuned.trials} trials, {tuned.seconds:.0f} s)"])

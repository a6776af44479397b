"""The search: layers are given back to the source, group after group, and schemes raised, until the limits hold."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from itertools import accumulate
from pathlib import Path
from typing import Final

from pipeline.backends import BACKENDS
from pipeline.backends.available import cuda_devices
from pipeline.backends.oracle.conversion import ask_ahead
from pipeline.errors import PublishError, RecipeError
from pipeline.events import Event
from pipeline.plan.model import ResolvedComponent, scheme_of
from pipeline.recipe import Quantization
from pipeline.recipe.clause import as_set
from pipeline.run import Engine
from pipeline.tasks import TASKS
from pipeline.tune.baseline import Numbers, TuningBaseline, bench_of, found_of, shift, validated, verdicts_of
from pipeline.tune.groups import Group, groups_of
from pipeline.tune.values import Change, GroupTrial, Tuned, TuningCandidate
from pipeline.validate.intervals import LEAST
from pipeline.validate.layer_swaps import Trials, opened
from pipeline.validate.stage import failed_name
from pipeline.validate.verdict import ORDER

MOST_TRIALS: Final = 32
FEW: Final = 4  # prompts of a trial
FURTHER: Final = 2  # groups more than seem to be needed, for a validation that finds the few prompts too kind
RAISES: Final = 4  # trials that are left for schemes that are raised
HIGHER: Final = 0.5  # decibels by which a scheme must be better to be a raise


def tune(engine: Engine, target: str, most: int = MOST_TRIALS, few: int = FEW) -> Tuned:
    """Find what to keep or to raise so that a target passes at the least size.

    Args:
        engine: The recipe.
        target: One of its targets.
        most: How many times the few prompts are asked at most.
        few: How many prompts that is.

    Raises:
        PublishError: The target cannot be made or validated as it is written.
        RecipeError: It fails, and its schemes are found for a budget, or there are too few prompts.
    """
    began = time.monotonic()
    bench = bench_of(engine, target, few)
    search = Search(bench, engine.store.aside / f"tune-{target}", most)
    if bench.report.verdict != "PASS":
        if bench.plan.budget:
            what = "This target fails, and its schemes are found for its budget."
            larger = "Leave its card out of the ladder" if bench.plan.ladder else "Give it a larger budget"
            raise RecipeError(what, where=target, remedy=f"{larger}, or name the schemes of its plan.")
        require_unseen(target, len(bench.request.questions), len(bench.questions))
        shutil.rmtree(search.out, ignore_errors=True)
        search.run()  # what fails leaves its log there
        shutil.rmtree(search.out, ignore_errors=True)
    return search.told(time.monotonic() - began)


@dataclass
class Search:
    """The search for one target.

    Attributes:
        bench: What is known of it.
        out: The folder for answers of trials.
        most: How many trials there may be.
        trials: How many there were.
        groups: What was tried.
        attempts: What was held against the limits.
        proposal: What passed.
    """

    bench: TuningBaseline
    out: Path
    most: int
    trials: int = 0
    groups: list[GroupTrial] = field(default_factory=list)
    attempts: list[TuningCandidate] = field(default_factory=list)
    proposal: TuningCandidate | None = None

    @property
    def sign(self) -> int:
        """The sign of a change for the better, of the metric that ranks."""
        return 1 if TASKS[self.bench.plan.task].metrics[self.bench.ranking].direction == "higher" else -1

    def run(self) -> None:
        """Try, and validate what holds on the few prompts, the smallest first, until one passes."""
        with self.opened(self.bench.checkpoint(), "kept") as trials:
            base = self.numbers(trials, [], "as written", self.bench.plan.result_bytes)
            found = [*self.keeping(trials, base)]
        found += self.raising(base)
        for attempt in sorted(found, key=lambda attempt: attempt.size_ratio):
            last = self.judged(attempt) if attempt.holds and self.proposal is None else attempt
            self.attempts.append(last)
            self.proposal = last if last.verdict == "PASS" else self.proposal

    def told(self, seconds: float) -> Tuned:
        """Return what the search came to."""
        report, plan = self.bench.report, self.bench.plan
        return Tuned(
            target=plan.target,
            task=plan.task,
            verdict=report.verdict,
            size_ratio=round(plan.result_bytes / plan.source_bytes, 4),
            found=found_of(report),
            prompts=len(self.bench.questions),
            unseen=len(self.bench.request.questions) - len(self.bench.questions),
            groups=tuple(self.groups),
            attempts=tuple(self.attempts),
            proposal=self.proposal,
            trials=self.trials,
            seconds=round(seconds, 1),
        )

    def opened(self, checkpoint: Path, name: str) -> AbstractContextManager[Trials]:
        """Load a checkpoint for trials."""
        bench = self.bench
        return opened(checkpoint, bench.request, bench.questions, self.out / name, bench.engine.listen)

    def numbers(self, trials: Trials, groups: Sequence[Group], what: str, size: int) -> Numbers:
        """Ask the few prompts with groups as the source has them, and measure.

        Args:
            trials: The checkpoint.
            groups: The groups.
            what: The trial in words.
            size: Bytes of the result that it stands for.
        """
        self.trials += 1
        subject = f"{self.bench.plan.target}, {what}"
        with self.bench.engine.timed("try", subject):
            swaps = {(swap.component, swap.module): swap for group in groups for swap in group.swaps}
            return self.bench.measured(*trials.ask(list(swaps.values()), subject), size)

    def keeping(self, trials: Trials, base: Numbers) -> Iterator[TuningCandidate]:
        """Give groups back to the source, first each alone, then the best together, as few as hold the limits."""
        ranked = self.ranked(trials, base)
        sets = [list(chosen) for chosen in accumulate(([group] for group in ranked), lambda one, more: one + more)]
        sets = [chosen for chosen in sets if self.bench.may_be(self.size(chosen)) and self.quantizes(chosen)]
        low, high = 0, len(sets)  # the smallest set that holds is among these, if any is
        tried: dict[int, TuningCandidate] = {}

        def attempt(number: int) -> TuningCandidate:
            if number not in tried:
                chosen = sets[number]
                words = f"keep {', '.join(group.name for group in chosen)}"
                found = self.numbers(trials, chosen, f"{len(chosen)} groups kept", self.size(chosen))
                tried[number] = self.attempt(words, self.change(chosen), self.size(chosen), base, found)
            return tried[number]

        while low < high and self.trials < self.most - RAISES:
            middle = (low + high) // 2
            low, high = (low, middle) if attempt(middle).holds else (middle + 1, high)
        for number in range(low, min(low + FURTHER + 1, len(sets))):
            if self.trials < self.most - RAISES:
                attempt(number)
        yield from tried.values()

    def ranked(self, trials: Trials, base: Numbers) -> list[Group]:
        """Try groups alone, and return those that bring something, the most for a byte first."""
        reserve, by = RAISES + FURTHER + 4, self.bench.ranking
        gains: list[tuple[float, Group]] = []
        for group in self.possible(groups_of(self.bench.parts, self.bench.report, self.bench.origin.folder)):
            if self.trials + reserve >= self.most:
                break
            found = self.numbers(trials, [group], f"{group.name} kept", self.size([group]))
            gains.append((self.sign * shift(base[by, "value"], found[by, "value"])[0], group))
        gains.sort(key=lambda one: (-one[0] / max(one[1].size, 1), one[1].sqnr or 0.0, one[1].name))
        for gain, group in gains:
            told = GroupTrial(
                name=group.name, layers=len(group.layers), size=group.size, sqnr=group.sqnr, gain=round(gain, 6)
            )
            self.groups.append(told)
        return [group for gain, group in gains if gain > 0]

    def possible(self, groups: list[Group]) -> list[Group]:
        """Return the groups that their libraries can keep, as they are or with others that they do not tell apart."""
        tried = groups[: self.most]
        wider = [widened(group, groups) for group in tried]
        self.ask_ahead(tried)
        refused = [group for group in tried if not self.can_keep(group)]
        self.ask_ahead([wide for group, wide in zip(tried, wider, strict=True) if group in refused])
        found = [wide if group in refused else group for group, wide in zip(tried, wider, strict=True)]
        return [group for group in found if group not in refused and self.can_keep(group)]

    def ask_ahead(self, groups: Sequence[Group]) -> None:
        """Ask the libraries about keeping each of these groups at once."""
        planner = self.bench.engine.planner
        ask_ahead([planner.question(group.component, self.kept([group])) for group in groups if group.patterns],
                  planner.answers)  # fmt: skip

    def can_keep(self, group: Group) -> bool:
        """Tell whether a library can keep a group and nothing else."""
        if not group.patterns:
            return len(self.bench.plan.components) > 1
        try:
            self.bench.engine.planner.consult(group.component, self.kept([group]))
        except PublishError:
            return False
        return True

    def kept(self, groups: Sequence[Group]) -> Quantization:
        """Return the quantization of a component that keeps groups of it as well."""
        quantization = self.bench.plan.components[groups[0].component].quantization
        patterns = (*quantization.keep, *(word for group in groups for word in group.patterns))
        return quantization.model_copy(update={"keep": as_set(patterns)})

    def change(self, groups: Sequence[Group]) -> Change:
        """Return the change that keeps groups."""
        found: Change = {}
        for name in dict.fromkeys(group.component for group in groups):
            own = [group for group in groups if group.component == name]
            found[name] = self.kept(own) if all(group.patterns for group in own) else None
        return found

    def quantizes(self, groups: Sequence[Group]) -> bool:
        """Tell whether anything is quantized where these groups are kept."""
        left = [name for name, quantization in self.change(groups).items() if quantization is None]
        return len(left) < len(self.bench.plan.components)

    def size(self, groups: Sequence[Group]) -> int:
        """Return the bytes of the result that keeps groups."""
        layers = {(layer.swap.component, layer.swap.module): layer.size for group in groups for layer in group.layers}
        return self.bench.plan.result_bytes + sum(layers.values())

    def attempt(self, words: str, change: Change, size: int, base: Numbers, found: Numbers) -> TuningCandidate:
        """Return a change with what is expected of it."""
        expected = {word: round(number, 4) for word, number in self.bench.expected(base, found).items()}
        ratio, holds = round(size / self.bench.plan.source_bytes, 4), self.bench.holds(expected)
        return TuningCandidate(words=words, change=change, size_ratio=ratio, expected=expected, holds=holds)

    def raising(self, base: Numbers) -> Iterator[TuningCandidate]:
        """Raise the scheme of each component alone, then of all, step by step until the limits hold."""
        ladders = {name: ladder for name, part in self.bench.parts.items() if (ladder := self.better(part))}
        together = [list(ladders)] if len(ladders) > 1 else []
        for names in [*([name] for name in ladders), *together]:
            for step in range(max(len(ladders[name]) for name in names)):
                change: Change = {name: ladders[name][min(step, len(ladders[name]) - 1)] for name in names}
                attempt = self.raised(change, base) if self.trials < self.most else None
                if attempt:
                    yield attempt
                if attempt is None or attempt.holds:
                    break

    def raised(self, change: Change, base: Numbers) -> TuningCandidate | None:
        """Return a change with what is expected of it, or None where it cannot be, is too large, or failed before."""
        words = ", ".join(f"{name} {part.words}" for name, part in change.items() if part)
        engine, target = self.bench.changed(change), self.bench.plan.target
        plan = engine.planner.plan(target)
        size, known = plan.result_bytes, engine.store.look("checkpoint", plan.build_key)
        folder = quantized(engine, target) if self.bench.may_be(size) else None
        if folder is None:
            return None
        with self.opened(folder, words.replace(" ", "-").replace(",", "")) as trials:
            found = self.numbers(trials, [], f"{words} instead", size)
        attempt = self.attempt(words, change, size, base, found)
        if not attempt.holds and not known:
            engine.store.drop("checkpoint", plan.build_key)  # many gigabytes that nobody asked for by name
        return attempt

    def better(self, part: ResolvedComponent) -> list[Quantization]:
        """Return the better schemes of its backend that a component can be saved in, the smallest first.

        One that is larger than another and no better is left out.
        """
        own, backend = part.quantization, BACKENDS[part.quantization.backend]
        found = []
        for word, scheme in backend.SCHEMES.items():
            fits = part.component.library not in scheme.refuses and (scheme.makes_on == "cpu" or cuda_devices())
            if fits and scheme.sqnr >= scheme_of(own).sqnr + HIGHER:
                options = scheme.options().model_dump(mode="json")
                raised = own.model_copy(update={"scheme": word, "options": options})
                size = self.bench.engine.planner.consult(part.component.name, raised).weights.size
                found.append((size, -scheme.sqnr, word, raised))
        found.sort(key=lambda one: one[:3])
        best = [min(sqnr for _, sqnr, _, _ in found[: index + 1]) for index in range(len(found))]
        return [one[3] for index, one in enumerate(found) if index == 0 or one[1] < best[index - 1]]

    def judged(self, attempt: TuningCandidate) -> TuningCandidate:
        """Return an attempt with the verdict of the whole validation and, where it passes, of the unseen prompts alone.

        What was built for one that fails the whole validation is removed.
        """
        engine = self.bench.changed(attempt.change)
        ended = validated(engine, self.bench.plan.target)
        if isinstance(ended, PublishError):
            engine.listen(Event("note", "tune", self.bench.plan.target, f"{attempt.words} cannot be: {ended.what}"))
            return attempt
        plan, judged = ended
        report, verdict = judged.report, judged.report.verdict
        if verdict == "PASS":
            report = self.bench.unseen(judged)
            verdict = next(word for word in ORDER if word in verdicts_of(report))
        else:
            engine.store.discard_failed(failed_name(plan))
        ratio = round(plan.result_bytes / plan.source_bytes, 4)
        changes = {"verdict": verdict, "found": found_of(report), "size_ratio": ratio}
        return attempt.model_copy(update=changes)


def require_unseen(target: str, prompts: int, tried: int) -> None:
    """Refuse to search where too few prompts are left to judge on what was found.

    Raises:
        RecipeError: There are too few.
    """
    if prompts - tried < LEAST:
        what = f"Changes are tried on {tried} prompts and judged on {LEAST} others or more, and there are {prompts}."
        raise RecipeError(what, where=target, remedy=f"Give the recipe {tried + LEAST} prompts or more.")


def widened(group: Group, groups: Sequence[Group]) -> Group:
    """Return a group with all layers of its component whose names end alike, for libraries that compare loosely."""
    if len(group.patterns) != 1:
        return group
    pattern = f"*{group.patterns[0]}"
    layers = [layer for other in groups if other.component == group.component for layer in other.layers]
    hit = [one for one in layers if any(fnmatchcase(one.swap.module, word) for word in (pattern, f"{pattern}.*"))]
    return replace(group, patterns=(pattern,), layers=tuple(hit))


def quantized(engine: Engine, target: str) -> Path | None:
    """Return the checkpoint of a target after the ordinary stages, or None where it cannot be or failed before."""
    (ended,) = engine.run([target], "quantize")
    plan, _ = engine.plan(target)
    return None if isinstance(ended, PublishError) else engine.store.look("checkpoint", plan.build_key)

"""Many validations of one honest target, each with a seed of its own, or with a sample of questions of its own.

One process draws all that is asked of a side, and each seed or sample is then judged by itself: the answers, limits and
judgement are those of a run with that one alone. What does not differ between them is what depends on neither: the
checkpoint, and so what its layers answer.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any, Final

from pipeline.tasks import TASKS
from pipeline.tasks.answers import Answer
from pipeline.validate import Report, Side, generate
from pipeline.validate.generate import ANSWERS
from pipeline.validate.stage import asked_again, side
from tests.gate.honest import Bench

FIRST: Final = 100
SHARE: Final = 0.7  # of all questions in a sample


def validations(bench: Bench, target: str, count: int) -> dict[str, Any]:
    """Return how many validations came to which verdict, and what was said of those that failed."""
    tried = seeds if TASKS[bench.plan.task].seeded else samples
    reports = dict(tried(bench, target, count))
    verdicts = Counter(report.verdict for report in reports.values())
    reasons = [reason for report in reports.values() for reason in report.reasons if reason.verdict != "PASS"]
    return {
        **{word: verdicts[word] for word in ("PASS", "INCONCLUSIVE", "FAIL")},
        "open": Counter(reason.text.split(" ", 1)[0] for reason in reasons),
        "failed": {number: one.reasons[0].text for number, one in reports.items() if one.verdict == "FAIL"},
    }


def seeds(bench: Bench, target: str, count: int) -> Iterator[tuple[int, Report]]:
    """Yield the report on each of so many seeds."""
    many = replace(bench, seeds=tuple(range(FIRST, FIRST + count)))
    reference, candidate = drawn(many, "source", many.source), drawn(many, target, many.checkpoints[target])
    for seed in many.request.seeds:
        own, other = (of_seed(whole, seed) for whole in (reference, candidate))
        yield seed, many.verdict(own, other, many.checkpoints[target])


def samples(bench: Bench, target: str, count: int) -> Iterator[tuple[int, Report]]:
    """Yield the report on each of so many samples of the questions."""
    reference, candidate = bench.reference, bench.answers(f"honest-{target}", bench.checkpoints[target])
    first = len(bench.first)  # they lead what is drawn
    rest = range(first, len(bench.request.questions))
    for number in range(count):
        chosen = {*range(first), *Random(number).sample(rest, round(SHARE * len(rest)))}
        own, other = (
            kept(whole, lambda answer, chosen=chosen: answer.prompt in chosen)  # type: ignore[misc]
            for whole in (reference, candidate)
        )
        yield number, bench.verdict(own, other, bench.checkpoints[target])


def drawn(many: Bench, name: str, model: Path) -> Side:
    """Draw every seed in one process, and of the source for each seed what a run would ask a second time."""
    out = many.folder / "seeds" / f"{len(many.request.seeds)}-{name}"
    one_by_one = [many.request.model_copy(update={"seeds": (seed,)}) for seed in many.request.seeds]
    again = [question for request in one_by_one for question in asked_again(request)] if model == many.source else []
    if not (out / ANSWERS).exists():
        generate(model, many.request, out, repeats=again, look=True)
    return side(out)


def of_seed(whole: Side, seed: int) -> Side:
    """Return the answers as if nothing but this seed had been asked."""
    return kept(whole, lambda answer: answer.seed == seed)


def kept(whole: Side, wanted: Any) -> Side:
    """Return the answers as if nothing but some had been asked."""
    answers = whole.answers

    def all_of(given: tuple[Answer, ...]) -> list[int]:
        return [place for place, answer in enumerate(given) if wanted(answer)]

    own = all_of(answers.given)
    update = {
        "given": tuple(answers.given[place] for place in own),
        "repeated": tuple(answers.repeated[place] for place in all_of(answers.repeated)),
        "seconds_per_call": tuple(answers.seconds_per_call[place] for place in own),
    }
    return Side(answers.model_copy(update=update), whole.folder)

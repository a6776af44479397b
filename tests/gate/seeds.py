"""Many validations of one honest target, each with a seed of its own.

One process draws all seeds of a side and each seed is then judged by itself: the pictures, limits and judgement are
those of a run with that single seed. What does not differ between them is what does not depend on a seed: the prompts,
the checkpoint, and so what its layers answer.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

from pipeline.validate import Report, Side, generate
from pipeline.validate.generate import ANSWERS
from pipeline.validate.stage import asked_again, side
from tests.gate.honest import SOURCE, Bench

FIRST = 100


def validations(bench: Bench, target: str, count: int) -> dict[str, Any]:
    """Return how many seeds came to which verdict, and what was said of those that failed."""
    many = replace(bench, seeds=tuple(range(FIRST, FIRST + count)))
    reference, candidate = drawn(many, "source", SOURCE), drawn(many, target, bench.checkpoints[target])
    reports = {seed: judged(many, target, reference, candidate, seed) for seed in many.request.seeds}
    verdicts = Counter(report.verdict for report in reports.values())
    reasons = [reason for report in reports.values() for reason in report.reasons if reason.verdict != "PASS"]
    return {
        **{word: verdicts[word] for word in ("PASS", "INCONCLUSIVE", "FAIL")},
        "open": Counter(reason.text.split(" ", 1)[0] for reason in reasons),
        "failed": {seed: one.reasons[0].text for seed, one in reports.items() if one.verdict == "FAIL"},
    }


def drawn(many: Bench, name: str, model: Path) -> Side:
    """Draw every seed in one process, and of the source for each seed what a run would ask a second time."""
    out = many.folder / "seeds" / f"{len(many.request.seeds)}-{name}"
    one_by_one = [many.request.model_copy(update={"seeds": (seed,)}) for seed in many.request.seeds]
    again = [question for request in one_by_one for question in asked_again(request)] if model == SOURCE else []
    if not (out / ANSWERS).exists():
        generate(model, many.request, out, repeats=again, look=True)
    return side(out)


def judged(many: Bench, target: str, reference: Side, candidate: Side, seed: int) -> Report:
    """Judge what was drawn with one seed."""
    return many.verdict(of_seed(reference, seed), of_seed(candidate, seed), many.checkpoints[target])


def of_seed(whole: Side, seed: int) -> Side:
    """Return the answers as if nothing but this seed had been asked."""
    answers = whole.answers
    own = [place for place, picture in enumerate(answers.given) if picture.seed == seed]
    kept = {
        "given": tuple(answers.given[place] for place in own),
        "repeated": tuple(picture for picture in answers.repeated if picture.seed == seed),
        "seconds_per_call": tuple(answers.seconds_per_call[place] for place in own),
    }
    return Side(answers.model_copy(update=kept), whole.folder)

"""Does the gate work: every planted defect must fail for the right reason, and nothing honest may fail.

``python -m tests.gate.gate`` spoils the honest targets of a recipe, the digits unless told, one defect at a time and
judges each as a run does; ``--weak`` makes every defect as weak as the honest scheme's own error; ``--honest N`` judges
the honest nf4 and int8 targets N times: with other seeds, and where an answer depends on none by other samples of the
questions. One line of JSON each, and at the end a table for ``benchmarks/README.md``.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

from pipeline.errors import PublishError
from pipeline.tasks import TASKS
from pipeline.validate import Report
from tests.gate.damage import copied
from tests.gate.defects import Defect
from tests.gate.honest import Bench
from tests.gate.many import validations
from tests.gate.subjects import SUBJECTS, Subject
from tests.gate.table import table

HOME = Path("build") / "gate"


@dataclass(frozen=True)
class Row:
    """What became of one candidate.

    Attributes:
        name: The defect, or the honest target.
        of: The target that was spoiled.
        strength: How far; 0 for nothing.
        verdict: PASS, FAIL or INCONCLUSIVE.
        about: Where the first reason was seen; ``load`` where nothing could be drawn, ``source`` where nothing could be
            judged.
        reason: The first reason.
        right: Whether all is as it has to be.
        answers: The verdict of the answers alone, without a look at files and layers.
        ranking: The metric that ranks its answers.
        least: The least SQNR of a layer, in decibels.
        seen: Half of the interval of each metric that is required: what a sample of this size can show.
    """

    name: str
    of: str
    strength: float
    verdict: str
    about: str
    reason: str
    right: bool
    answers: str = ""
    ranking: float | None = None
    least: float | None = None
    seen: dict[str, float] | None = None


def spoiled(bench: Bench, name: str, defect: Defect, strength: float) -> Row:
    """Plant a defect, have the pipeline answer, judge, and remove the copy."""
    slug = f"{name.replace(' ', '-')}-{strength:.4g}"
    folder = copied(honest_of(bench, defect), bench.folder / "spoiled" / slug)
    try:
        defect.spoil(folder, strength)
        ask = bench.answers if defect.about == "load" else bench.answers_here
        drawn = ask(slug, folder, again=defect.of == "source")
        report = bench.verdict(drawn if defect.of == "source" else bench.reference, drawn, folder)
    except PublishError as error:
        about = "source" if "degenerate" in error.what else "load"
        right = about == defect.about and defect.names in error.what
        return Row(name, defect.of, strength, "FAIL", about, error.what, right)
    finally:
        shutil.rmtree(folder)
        shutil.rmtree(bench.folder / "answers" / slug, ignore_errors=True)
    first = report.reasons[0]
    found = report.verdict == "FAIL" and first.about == defect.about and defect.names in first.text
    return row(name, defect.of, strength, report, right=found or strength < 1)


def honest(bench: Bench, target: str) -> Row:
    """Judge a target as the pipeline makes it; ``source`` is the source against itself."""
    checkpoint = bench.source if target == "source" else bench.checkpoints[target]
    report = bench.verdict(bench.reference, bench.answers(f"honest-{target}", checkpoint), checkpoint)
    same = report.identical == len(report.pairs)
    right = report.verdict == "PASS" and same if target == "source" else report.verdict != "FAIL"
    return row(f"honest {target}", target, 0.0, report, right=right)


def targets(subject: Subject, names: Sequence[str], *, some: bool) -> list[str]:
    """Return what has to be made: what defects are planted in, and every honest target unless some are enough."""
    planted = [subject.defects[name].of for name in names if subject.defects[name].of != "source"]
    return list(dict.fromkeys([*(subject.honest[:1] if some else subject.honest), *planted]))


def varied(bench: Bench) -> Row:
    """Judge the source against itself with another attention kernel: all of what the noise floor takes a sample of."""
    from torch.nn.attention import SDPBackend, sdpa_kernel

    with sdpa_kernel(SDPBackend.MATH):
        drawn = bench.answers_here("varied", bench.source)
    report = bench.verdict(bench.reference, drawn, bench.source)
    return row("honest source, other attention", "source", 0.0, report, right=report.verdict != "FAIL")


def honest_of(bench: Bench, defect: Defect) -> Path:
    """Return what a defect is planted in."""
    return bench.source if defect.of == "source" else bench.checkpoints[defect.of]


def row(name: str, of: str, strength: float, report: Report, *, right: bool) -> Row:
    """Sum a report up."""
    first = report.reasons[0]
    drawn = {reason.verdict for reason in report.reasons if reason.about in {"metric", "answer"}}
    return Row(
        name,
        of,
        strength,
        report.verdict,
        first.about,
        first.text,
        right,
        answers=next(word for word in ("FAIL", "INCONCLUSIVE", "PASS") if word in drawn or word == "PASS"),
        ranking=report.metrics[TASKS[report.task].medium.ranking].value,
        least=min((layer.sqnr for layer in report.layers if layer.sqnr is not None), default=None),
        seen=seen(report),
    )


def seen(report: Report) -> dict[str, float]:
    """Return half of the widths of the intervals that were held against limits."""
    found = {name: finding.judgements[0].found for name, finding in report.metrics.items() if finding.judgements}
    return {name: (found.high - found.low) / 2 for name, found in found.items() if found.high > found.low}


def weak(bench: Bench, target: str) -> float:
    """Return the strength whose relative error is that of the honest scheme: of its layers as they were made."""
    checkpoint = bench.checkpoints[target]
    report = bench.verdict(bench.reference, bench.answers(f"honest-{target}", checkpoint), checkpoint)
    return 10 ** (-median(layer.sqnr or 0.0 for layer in report.layers if layer.quantized) / 20)


def rows(bench: Bench, subject: Subject, names: Sequence[str], *, weakly: bool) -> Iterator[Row]:
    """Judge the source against itself, the honest targets that were made, and every defect."""
    yield honest(bench, "source")
    yield varied(bench)
    yield from (honest(bench, target) for target in subject.honest if target in bench.checkpoints)
    planted = {name: subject.defects[name] for name in names}
    yield from (spoiled(bench, name, defect, 1.0) for name, defect in planted.items())
    if weakly:
        fading = {name: defect for name, defect in planted.items() if defect.weakens and defect.of != "source"}
        strengths = {target: weak(bench, target) for target in {defect.of for defect in fading.values()}}
        yield from (spoiled(bench, name, defect, strengths[defect.of]) for name, defect in fading.items())


def main() -> int:
    """Run what was asked for; return 1 where something is not as it has to be."""
    import torch

    arguments = parsed()
    os.environ["OMP_NUM_THREADS"] = "1"  # of the children; pictures are small, and threads only wait for each other
    torch.set_num_threads(1)
    for earlier in ("answers", "seeds", "spoiled"):
        shutil.rmtree(arguments.home / earlier, ignore_errors=True)
    subject, seeds = SUBJECTS[arguments.recipe], arguments.seeds and tuple(arguments.seeds)
    bench = Bench(subject.recipe, arguments.home, subject.more, subject.first, arguments.prompts, seeds)
    if arguments.honest:
        bench.make(subject.many)
        return max(tell_validations(bench, target, arguments.honest) for target in subject.many)
    names = arguments.only or list(subject.defects)
    bench.make(targets(subject, names, some=bool(arguments.only)))
    found = []
    for one in rows(bench, subject, names, weakly=arguments.weak):
        tell(asdict(one))
        found.append(one)
    sys.stderr.write(table(found) + "\n")
    return 0 if all(one.right for one in found) else 1


def tell_validations(bench: Bench, target: str, count: int) -> int:
    """Say what many validations of a target came to; return 1 where more than one in a hundred failed."""
    verdicts = validations(bench, target, count)
    tell({"honest": target, **verdicts})
    return int(verdicts["FAIL"] > count // 100)


def tell(line: Mapping[str, Any]) -> None:
    """Write one line of JSON."""
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()


def parsed() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--recipe", choices=SUBJECTS, default="digits", help="what is judged")
    parser.add_argument("--only", nargs="+", metavar="DEFECT", help="defects; all of them by default")
    parser.add_argument("--weak", action="store_true", help="the same defects once more, as weak as the honest error")
    parser.add_argument("--honest", type=int, default=0, metavar="N", help="validate nf4 and int8 N times")
    parser.add_argument("--prompts", type=int, help="how many of the recipe's prompts to draw")
    parser.add_argument("--seeds", type=int, nargs="+", help="with which seeds")
    parser.add_argument("--home", type=Path, default=HOME, help="where to work")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())

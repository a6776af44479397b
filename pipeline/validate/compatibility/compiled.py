"""Whether a compiled component does what it did before: the limits, and the sentence of the report."""

from __future__ import annotations

from typing import Final

from pipeline.validate.compatibility.asking import Compilation, Tried
from pipeline.validate.report import CompatibilityCheck, Verdict

# Compiled code rounds in other places, and steps carry that on; what differs more than this shows.
LEAST_PSNR: Final = 25.0
REMEDY: Final = "install a C++ compiler (g++) and Python's headers, or validate where they are"


def judge_compiled(wanted: Compilation, found: Tried) -> CompatibilityCheck:
    """Judge what came of compiling a component.

    Args:
        wanted: What was asked for.
        found: What the process that tried said.
    """
    how, numbers = f"Compiled with mode {wanted.mode}{' as one graph' if wanted.fullgraph else ''} it", found.numbers

    def judged(verdict: Verdict, text: str) -> CompatibilityCheck:
        said = f"{how} {text}"
        return CompatibilityCheck(kind="compile", name=wanted.component, verdict=verdict, text=said, numbers=numbers)

    if found.missing:
        return judged("INCONCLUSIVE", f"cannot be tried on this machine ({found.missing}); {REMEDY}.")
    if found.failure:
        return judged("FAIL", f"raises {found.failure}")
    if numbers["not_numbers"]:
        return judged("FAIL", f"answers {numbers['not_numbers']:.0f} values that are no numbers.")
    if numbers["psnr"] < LEAST_PSNR:
        far = f"{numbers['psnr']:.1f} dB to those without, less than {LEAST_PSNR:g} dB"
        return judged("FAIL", f"gives other answers: {far}.")
    return judged("PASS", f"is {told(found)}")


def told(found: Tried) -> str:
    """Return what was counted, as a sentence."""
    numbers = found.numbers
    parts = [
        f"{numbers['speedup']:.2f} times as fast on {found.device}",
        counted(numbers["graph_breaks"], "graph break"),
        f"{counted(numbers['recompiles'], 'recompile')} over the prompts",
        f"{numbers['compile_seconds']:.0f} s to compile",
        f"{numbers['psnr']:.1f} dB to the answers without",
    ]
    why = f" The graph breaks at: {found.breaks[0].rstrip('.')}." if found.breaks else ""
    return f"{', '.join(parts)}.{why}"


def counted(number: float, noun: str) -> str:
    """Return a number with its noun."""
    return f"no {noun}s" if not number else f"{number:.0f} {noun}{'' if number == 1 else 's'}"

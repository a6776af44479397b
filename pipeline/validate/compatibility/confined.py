"""Whether a checkpoint answers within a small device's limits: the sentence of the report."""

from __future__ import annotations

from typing import Final

from pipeline.files import counted, human_size
from pipeline.validate.compatibility.asking import SmallDevice, Tried
from pipeline.validate.report import CompatibilityCheck, Verdict

NAME: Final = "small device"


def judge_confined(wanted: SmallDevice, found: Tried) -> CompatibilityCheck:
    """Judge what came of confining a process to a device's memory and threads.

    Args:
        wanted: What it was confined to.
        found: What the process said, or its end.
    """
    numbers = found.numbers
    limits = f"{human_size(wanted.memory)} of memory and {counted(wanted.threads, 'thread')}, without a GPU,"

    def judged(verdict: Verdict, text: str) -> CompatibilityCheck:
        said, known = f"Limited to {limits} it {text}", {"memory_limit": float(wanted.memory), **numbers}
        return CompatibilityCheck(kind="device", name=NAME, verdict=verdict, text=said, numbers=known)

    if found.missing:
        return judged("INCONCLUSIVE", f"cannot be tried on this machine: {found.missing}; validate on Linux.")
    if found.failure:
        return judged("FAIL", f"does not answer: {found.failure.rstrip('.')}.")
    if numbers["not_numbers"]:
        return judged("FAIL", f"answers {numbers['not_numbers']:.0f} values that are no numbers.")
    if numbers["peak_memory"] > wanted.memory:
        resident = human_size(numbers["peak_memory"])
        return judged("FAIL", f"has {resident} resident at most, with the files that it maps, and that is more.")
    return judged("PASS", told(found))


def told(found: Tried) -> str:
    """Return what was measured, as the end of a sentence."""
    numbers = found.numbers
    where = f", with {counted(int(numbers['threads']), 'thread')} of {found.processor}"
    return (
        f"loads in {numbers['load_seconds']:.1f} s, answers in {numbers['answer_seconds']:.2f} s (median of "
        f"{numbers['answers']:.0f}) and takes {human_size(numbers['peak_memory'])} at most{where}."
    )

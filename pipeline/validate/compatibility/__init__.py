"""What users do next with a checkpoint, tried on it: a LoRA loaded onto it, its components compiled, a small device.

Each is tried in a process of its own that has the checkpoint and the libraries and nothing else; `consumer` is its
entry. What does not work is a finding with a verdict, and no error: the text says which.
"""

from __future__ import annotations

from pathlib import Path

from pipeline.events import Listener, silent
from pipeline.tasks.answers import Request
from pipeline.validate.compatibility.asking import (
    Compilation,
    Lora,
    SmallDevice,
    Uses,
    ask_with_lora,
    few,
    try_compiling,
    try_confined,
)
from pipeline.validate.compatibility.compiled import judge_compiled
from pipeline.validate.compatibility.confined import judge_confined
from pipeline.validate.compatibility.lora import judge_lora
from pipeline.validate.report import CompatibilityCheck

__all__ = ["CompatibilityCheck", "Compilation", "Lora", "SmallDevice", "Uses", "ask_with_lora", "few", "try_uses"]


def try_uses(
    uses: Uses, reference: Path, candidate: Path, request: Request, out: Path, listener: Listener = silent
) -> tuple[CompatibilityCheck, ...]:
    """Try everything that a plan wants tried on a candidate.

    Args:
        uses: What to try.
        reference: The folder of the source; not looked at where its answers with a LoRA are known.
        candidate: The folder of the checkpoint.
        request: What the validation asks; a few of its questions are asked here.
        out: A folder for what is answered.
        listener: Hears what is tried.

    Returns:
        One line for each LoRA, then one for each component that is compiled, then one for the device.

    Raises:
        RecipeError: The source itself does not take a LoRA.
        CannotHereError: A library is missing or the memory did not suffice.
        GenerationError: The process that tries ended without an answer.
    """
    found = []
    for number, lora in enumerate(uses.loras):
        known = lora.reference or ask_with_lora(reference, lora, request, out / f"lora-{number}-source", listener)
        answered = ask_with_lora(candidate, lora, request, out / f"lora-{number}", listener)
        found.append(judge_lora(lora, known, answered))
    for compilation in uses.compilations:
        folder = out / f"compiled-{compilation.component}"
        found.append(judge_compiled(compilation, try_compiling(candidate, compilation, request, folder, listener)))
    if uses.device:
        said = try_confined(candidate, uses.device, request, out / "device", listener)
        found.append(judge_confined(uses.device, said))
    return tuple(found)

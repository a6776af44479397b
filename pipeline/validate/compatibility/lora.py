"""Whether a LoRA has on a checkpoint the effect that it has on the source: the limits, and the sentence of the report.

Its effect is the difference that it makes to what is drawn from the same noise: to the latents before they are decoded
where the pipeline shows them, else to the pixels. Quantization moves what is drawn as well, with the LoRA and without.
Were those two moves independent and each as large as the effect, the cosine between the two effects would be
1 / sqrt(1 + 2), about 0.58; less than 0.5 is more than they explain. They are mostly alike: on the digits nf4 moves the
latents three times as far as a LoRA does whose effect still has a cosine of 0.93 and is 1.14 times as strong.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from pipeline.validate.compatibility.asking import Lora, refuse_source, tried
from pipeline.validate.report import CompatibilityCheck, Verdict

LEAST_COSINE: Final = 0.5
RATIOS: Final = (0.5, 2.0)  # of the effect's norm to that on the source
SEEN: Final = 0.5 / 255  # root mean square of an effect on pixels that 8 bits show
ABOVE_NOISE: Final = 3.0  # how many times its own noise the source's effect must be
MOST_MOVED: Final = 1.0  # of the source's effect, how far quantization may move the picture for the cosine to say much


def judge_lora(lora: Lora, source: Path, candidate: Path) -> CompatibilityCheck:
    """Compare a LoRA's effect on a checkpoint with that on its source.

    Args:
        lora: The LoRA.
        source: The folder of the source's answers.
        candidate: The folder of the checkpoint's.

    Raises:
        RecipeError: The source itself does not take it.
    """
    if failure := tried(source).failure:
        raise refuse_source(lora, failure)
    if failure := tried(candidate).failure:
        text = f"Loading the LoRA onto the checkpoint, or drawing with it, raises {failure}"
        return CompatibilityCheck(kind="lora", name=lora.name, verdict="FAIL", text=text, numbers={})
    numbers = measure(source, candidate)
    verdict, text = said_of(lora, numbers)
    return CompatibilityCheck(kind="lora", name=lora.name, verdict=verdict, text=text, numbers=numbers)


def measure(source: Path, candidate: Path) -> dict[str, float]:
    """Measure both effects.

    Returns:
        ``cosine`` of the two, ``ratio`` of the candidate's norm to the source's, the source's ``effect`` on pixels as
        root mean square, ``noise`` and ``moved`` in units of the source's effect: how far the source itself is from
        another run of its own, and the candidate from the source where neither has the LoRA. Without an effect on the
        source only ``effect`` is known.
    """
    import numpy as np

    sides = [{name: read(folder / f"{name}.npz") for name in ("plain", "adapted")} for folder in (source, candidate)]
    again = read(source / "again.npz")
    shown = all("latents" in found for found in (*sides[0].values(), *sides[1].values(), again))
    kind = "latents" if shown else "pixels"
    effects = [side["adapted"][kind] - side["plain"][kind] for side in sides]
    visible = float(np.sqrt(np.mean((sides[0]["adapted"]["pixels"] - sides[0]["plain"]["pixels"]) ** 2)))
    size, other = (float(np.linalg.norm(effect)) for effect in effects)
    if not np.isfinite(other):
        return {"effect": visible, "not_numbers": float((~np.isfinite(effects[1])).sum())}
    if not size:
        return {"effect": visible}
    own = np.linalg.norm(again[kind] - sides[0]["plain"][kind][:1]) / (np.linalg.norm(effects[0][:1]) or size)
    return {
        "effect": visible,
        "cosine": float(np.vdot(effects[0], effects[1])) / (size * other) if other else 0.0,
        "ratio": other / size,
        "noise": float(own),
        "moved": float(np.linalg.norm(sides[1]["plain"][kind] - sides[0]["plain"][kind])) / size,
    }


def read(file: Path) -> dict[str, Any]:
    """Return the arrays of a file, in double precision."""
    import numpy as np

    with np.load(file) as arrays:
        return {name: arrays[name].astype(np.float64) for name in arrays.files}


def said_of(lora: Lora, numbers: dict[str, float]) -> tuple[Verdict, str]:
    """Return the verdict and its sentence."""
    at = f" at scale {lora.scale:g}" if lora.scale != 1 else ""
    if "not_numbers" in numbers:
        count = f"{numbers['not_numbers']:.0f}"
        return "FAIL", f"With the LoRA{at} the checkpoint answers {count} values that are no numbers."
    if "cosine" not in numbers or numbers["effect"] < SEEN or numbers["noise"] * ABOVE_NOISE > 1:
        seen = f"{numbers['effect'] * 255:.2f} levels of 255"
        what = f"The LoRA's effect{at} on the source itself is within noise ({seen}); nothing can be compared."
        return "INCONCLUSIVE", what
    found = (
        f"The LoRA's effect{at} has a cosine of {numbers['cosine']:.2f} to that on the source, "
        f"and is {numbers['ratio']:.2f} times as strong"
    )
    low, high = RATIOS
    if numbers["cosine"] >= LEAST_COSINE and low <= numbers["ratio"] <= high:
        return "PASS", f"{found}."
    if numbers["moved"] > MOST_MOVED and numbers["ratio"] >= low:
        more = f"quantization alone moves the pictures {numbers['moved']:.1f} times as far"
        return "INCONCLUSIVE", f"{found}; {more}, so that says little."
    return "FAIL", f"{found}; a cosine of {LEAST_COSINE:g} and a strength of {low:g} to {high:g} are the limits."

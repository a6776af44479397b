"""Every layer of the candidate beside the source's: how much of its signal is left, as loaded.

Each side told in a process of its own what its layers answer to the same fixed noise (see ``probes``); the relative
error of those answers estimates the relative error of the weights, whatever library computes with them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from math import log10
from pathlib import Path
from typing import Any

from pipeline.tasks.protocol import IDENTICAL
from pipeline.validate.probes import FILE, named_in
from pipeline.validate.report import LayerReport

KEPT = 40.0  # decibels that a layer keeps at least if nobody quantized it; rounding to bfloat16 leaves 50
COMPUTED = 35.0  # decibels beyond which activations that are quantized as well, and rounding, hide what weights lost
SLACK = 6.0  # decibels that an estimate from a few answers may be off
MISSING = "is not in what was loaded"
STEADY = 15.0  # decibels of a layer, beyond which none of its outputs is half noise by chance
LOST = 3.0  # decibels below which half of what a layer says is noise, for a checkpoint of which nothing is known


def compare(reference: Path, candidate: Path, made: Mapping[str, float | None]) -> tuple[LayerReport, ...]:
    """Return every layer, the worst first.

    Args:
        reference: The folder of the source's answers.
        candidate: The folder of the candidate's.
        made: What quantization measured, decibels by ``component/layer``; none for a tensor without signal.
    """
    if not (reference / FILE).exists() or not (candidate / FILE).exists():
        return ()
    quantized, unread = named_in(candidate / FILE, "quantized"), named_in(candidate / FILE, "unread")
    found = [
        LayerReport(
            component=key.partition("/")[0],
            name=key.partition("/")[2],
            quantized=key in quantized,
            sqnr=sqnr,
            made=made.get(key),
            fault=broken or _fault(sqnr or 0.0, made.get(key), lost, quantized=key in quantized, was_made=key in made),
        )
        for key, sqnr, broken, lost in _answered(reference / FILE, candidate / FILE)
        if key not in unread
    ]
    return tuple(
        sorted(found, key=lambda layer: (not layer.fault, layer.sqnr if layer.sqnr is not None else -IDENTICAL))
    )


def _answered(reference: Path, candidate: Path) -> Iterator[tuple[str, float | None, str, int]]:
    """Return for each of the source's layers how much signal is left, or what makes the answers incomparable.

    Last comes how many of its outputs say more noise than signal, though what they should say is no small part of all.
    """
    from safetensors import safe_open

    with safe_open(reference, "pt") as own, safe_open(candidate, "pt") as other:
        names = set(other.keys())
        for key in own.keys():  # noqa: SIM118 - no mapping
            yield key, *(_compared(own.get_tensor(key), other.get_tensor(key)) if key in names else (None, MISSING, 0))


def _compared(own: Any, other: Any) -> tuple[float | None, str, int]:
    if own.shape != other.shape:
        return None, "has another shape", 0
    own, other = own.double(), other.double()
    if not bool(other.isfinite().all()):
        return None, "answers with values that are NaN or infinite", 0
    noise, signal = float((own - other).square().sum()), float(own.square().sum())
    if noise == 0:
        return IDENTICAL, "", 0
    sqnr = min(10 * log10(signal / noise), IDENTICAL) if signal else -IDENTICAL
    return sqnr, "", _lost(own, other) if own.ndim > 1 else 0


def _lost(own: Any, other: Any) -> int:
    """Return how many columns are half noise; those below the mean of all are measured by that mean."""
    noise, signal = (own - other).square().sum(0), own.square().sum(0)
    return int((noise > 0.5 * signal.clamp(min=float(signal.mean()))).sum())


def _fault(sqnr: float, made: float | None, lost: int, *, quantized: bool, was_made: bool) -> str:
    """Return what is wrong with a layer, as the end of a sentence that begins with its name; empty if nothing is."""
    if was_made and not quantized:
        return "was quantized when the checkpoint was made and is not now"
    if not quantized:
        return "" if sqnr >= KEPT else f"was not quantized and yet keeps only {sqnr:.1f} dB of its signal"
    if made is not None and sqnr < min(made, COMPUTED) - SLACK:
        return f"keeps {sqnr:.1f} dB of its signal as loaded, of {made:.1f} dB when it was quantized"
    if not was_made and sqnr < LOST:
        return f"keeps {sqnr:.1f} dB of its signal"
    if lost and (sqnr if made is None else made) >= STEADY:
        return f"keeps {sqnr:.1f} dB of its signal and has lost {lost} of its outputs"
    return ""

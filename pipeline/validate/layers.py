"""Every layer of the candidate beside the source's: how much of its signal is left, as loaded.

Each side told in a process of its own what its layers answer to the same fixed noise (see ``probes``); the relative
error of those answers estimates the relative error of the weights, whatever library computes with them. Nothing here
needs torch: this process waits while models answer, and what it holds is memory that they cannot have.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from math import log10, prod
from pathlib import Path
from typing import Any, Final

from pipeline.source.safetensors import TensorInfo, read_header
from pipeline.tasks.protocol import IDENTICAL
from pipeline.validate.probes import FILE, named_in
from pipeline.validate.report import LayerReport

KEPT = 40.0  # decibels that a layer keeps at least if nobody quantized it; rounding to bfloat16 leaves 50
COMPUTED = 35.0  # decibels beyond which activations that are quantized as well, and rounding, hide what weights lost
SLACK = 6.0  # decibels that an estimate from a few answers may be off
STORED: Final = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2"}
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
    own, other = read_header(reference), read_header(candidate)
    for key, slot in own.items():
        if key in other:
            yield key, *_compared(_read(reference, slot), _read(candidate, other[key]))
        else:
            yield key, None, MISSING, 0


def _read(file: Path, slot: TensorInfo) -> Any:
    """Return an answer in double precision."""
    import numpy as np

    values = np.fromfile(file, STORED[slot.dtype], prod(slot.shape), offset=slot.begin).reshape(slot.shape)
    if slot.dtype == "BF16":
        values = (values.astype(np.uint32) << 16).view(np.float32)
    return values.astype(np.float64)


def _compared(own: Any, other: Any) -> tuple[float | None, str, int]:
    import numpy as np

    if own.shape != other.shape:
        return None, "has another shape", 0
    if not np.isfinite(other).all():
        return None, "answers with values that are NaN or infinite", 0
    noise, signal = float(np.square(own - other).sum()), float(np.square(own).sum())
    if noise == 0:
        return IDENTICAL, "", 0
    sqnr = min(10 * log10(signal / noise), IDENTICAL) if signal else -IDENTICAL
    return sqnr, "", _lost(own, other) if own.ndim > 1 else 0


def _lost(own: Any, other: Any) -> int:
    """Return how many columns are half noise; those below the mean of all are measured by that mean."""
    import numpy as np

    noise, signal = np.square(own - other).sum(0), np.square(own).sum(0)
    return int((noise > 0.5 * np.maximum(signal, signal.mean())).sum())


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

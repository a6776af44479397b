"""Clips that were asked: inside the page, to be heard there, with what was done to them before a model heard them."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pipeline.tasks.speech.audio import RATE
from pipeline.validate.report import PairReport

MOST_BYTES: Final = 24 << 20  # of all clips on a page; the worst answers have theirs first
KINDS: Final = {".wav": "wav", ".flac": "flac", ".ogg": "ogg", ".mp3": "mpeg"}
BESIDE: Final = ".sound.npy"  # what an answer keeps of its clip: seconds, samples a second, channels


@dataclass(frozen=True)
class Heard:
    """A clip on the page.

    Attributes:
        address: Its bytes as a ``data:`` address; empty where the page has no room for it.
        told: How long it is, and what was done to it.
    """

    address: str
    told: str


def heard(pairs: Iterable[PairReport], clips: Mapping[int, Path], answers: Path | None) -> dict[int, Heard]:
    """Return the clip of each prompt that has one, as far as there is room.

    Args:
        pairs: The answers, in the order in which clips get room.
        clips: The clips' files, by the prompts' numbers.
        answers: The folder of the source's answers.
    """
    found: dict[int, Heard] = {}
    room = MOST_BYTES
    for pair in pairs:
        path = clips.get(pair.prompt)
        if path is None or pair.prompt in found:
            continue
        room -= path.stat().st_size
        kind = KINDS.get(path.suffix.lower(), "wav")
        address = f"data:audio/{kind};base64,{base64.b64encode(path.read_bytes()).decode()}" if room >= 0 else ""
        found[pair.prompt] = Heard(address, told((answers / pair.reference).with_suffix(BESIDE)) if answers else "")
    return found


def told(beside: Path) -> str:
    """Return how long a clip is and what was done to it, as an answer to it tells."""
    import numpy as np

    seconds, rate, channels = np.load(beside)
    mixed = f", {channels:.0f} channels mixed" if channels > 1 else ""
    resampled = f", resampled from {rate / 1000:g} to {RATE / 1000:g} kHz" if rate != RATE else ""
    return f"{seconds:.1f} s{mixed}{resampled}"

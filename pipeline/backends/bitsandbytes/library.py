"""What bitsandbytes 0.50 does beside what the quantizers of its users say; part of child processes."""

from __future__ import annotations

from typing import Any

from pipeline.backends.oracle.quirks import Piece, Quirks


def piece(config: Any) -> Piece:
    """Return the scales, beside which the codes are written as the weight."""
    return Piece("SCB" if config.load_in_8bit else "weight.absmax")


QUIRKS = Quirks(piece=piece)

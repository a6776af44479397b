"""What a pipeline costs its users: bytes to download, seconds, memory."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from pipeline.quality.metrics.protocol import Given, Measured, Sizes


@dataclass(frozen=True)
class SizeRatio:
    """Bytes of the result divided by bytes of the source."""

    unit: str = ""
    direction: Literal["higher", "lower"] = "lower"
    span: None = None

    def lacks(self, given: Given) -> str:
        """Sizes are counted by the caller, who knows which files a consumer downloads."""
        return "" if given.sizes else "the sizes of source and result"

    def measure(self, given: Given) -> Measured:
        """Divide."""
        sizes = given.sizes or Sizes(source=1, result=0)
        return Measured(sizes.result / sizes.source)


SIZE_RATIO = SizeRatio()

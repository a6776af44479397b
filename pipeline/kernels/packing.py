"""What a packing is: one weight on its way into a scheme, fed in pieces."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from numpy.typing import NDArray

Part = tuple[str, int, "NDArray[Any]"]
"""Content of one tensor of the result: its full name, the byte where the content begins in it, and the content."""


@dataclass(frozen=True)
class Finished:
    """What is known of a weight once all its pieces were packed.

    Attributes:
        tensors: The tensors, or what is left of them, that no piece returned; contiguous, in the order of `layout`.
        noise: The squared error that the scheme made, summed over the weight.
        signal: The squared values, summed over the weight; the SQNR in dB is ``10 * log10(signal / noise)``.
        metadata: What the library says of the weight in the header's metadata, where only packing tells.
    """

    tensors: Mapping[str, NDArray[Any]]
    noise: float
    signal: float
    metadata: str | None = None


class Packing(Protocol):
    """One weight on its way into a scheme: fed with pieces, in any order and from any thread."""

    @property
    def unit(self) -> int:
        """Return the values that a piece holds a multiple of, unless it is the last one of the weight."""

    def pack(self, first: int, values: NDArray[Any]) -> list[Part]:
        """Quantize the values from the ``first`` on; return what of the result is final with them.

        Values are one-dimensional, in row-major order: float32, float16, or bfloat16 as its bits (uint16). All are
        finite. They are not used after the call, and the parts do not share memory with them.

        Parts of one tensor come in its order when pieces do, without gaps, the bytes of a piece being its own.
        """

    def finish(self) -> Finished:
        """Return the rest, after every piece was packed."""

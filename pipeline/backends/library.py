"""Packing by the library's own function: where no kernel of ours does it, or on a GPU.

A weight goes whole to the device and comes back packed. On a GPU the way there and back leads through pinned memory, so
that both run beside the packing of other weights.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import prod
from typing import TYPE_CHECKING, Any

from pipeline.backends.protocol import Finished, Packed, Part, Streaming
from pipeline.errors import PublishError, QuantizationError

if TYPE_CHECKING:
    import torch
    from numpy.typing import NDArray


@dataclass
class LibraryPacking:
    """One weight, packed whole by its library.

    Attributes:
        backend: The library.
        scheme: What it is asked for.
        options: The scheme's options.
        name: The weight's name.
        shape: Its shape (out, in).
        dtype: Its torch dtype.
        device: Where the library works: ``cpu`` or ``cuda``.
    """

    backend: Streaming
    scheme: str
    options: Mapping[str, Any]
    name: str
    shape: tuple[int, ...]
    dtype: str
    device: str = "cpu"
    _packed: Packed | None = field(default=None, repr=False)

    @property
    def unit(self) -> int:
        """Return the size of the whole weight, which is packed in one piece."""
        return prod(self.shape)

    def pack(self, first: int, values: NDArray[Any]) -> list[Part]:  # noqa: ARG002  there is one piece
        """Quantize the weight.

        Raises:
            QuantizationError: The library failed on it.
        """
        import torch

        try:
            weight = torch.from_numpy(values).view(getattr(torch, self.dtype)).reshape(self.shape)
            self._packed = self.backend.pack(self.scheme, self.options, self.name, on(self.device, weight))
        except PublishError:
            raise
        except Exception as error:  # the library's own code, of any class
            raise QuantizationError(
                f"{self.backend.DISTRIBUTION} failed on tensor {self.name!r} of shape {list(self.shape)}: {error}.",
                remedy="Keep this module with keep: in the recipe, or choose another scheme.",
            ) from error
        return []

    def finish(self) -> Finished:
        """Return the packed weight; the library does not say what error it made."""
        packed, self._packed = self._packed, None
        if packed is None:
            raise QuantizationError(f"The weight {self.name!r} was never packed.")
        order = self.backend.layout(self.scheme, self.options, self.name, self.shape, self.dtype)
        tensors = {name: as_array(packed.tensors[name]) for name in order}
        return Finished(tensors, noise=0.0, signal=0.0, metadata=packed.metadata)


def on(device: str, weight: torch.Tensor) -> torch.Tensor:
    """Return a weight on a device; copied, since the memory it comes in is used again for the next one."""
    if device == "cpu":
        return weight.clone()
    return weight.pin_memory().to(device, non_blocking=True)


def as_array(tensor: torch.Tensor) -> NDArray[Any]:
    """Return a tensor's bytes on the host."""
    import torch

    if tensor.device.type != "cpu":
        host = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True)
        host.copy_(tensor, non_blocking=True)
        torch.cuda.current_stream().synchronize()
        tensor = host
    content: NDArray[Any] = tensor.contiguous().reshape(-1).view(torch.uint8).numpy()
    return content

"""What a backend is: its schemes, and the functions that stages call."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Protocol

from pydantic import BaseModel, ConfigDict

from pipeline.errors import CannotHereError

if TYPE_CHECKING:
    import numpy as np
    import torch
    from numpy.typing import NDArray

Layout = dict[str, tuple[str, tuple[int, ...] | None]]
"""Tensors of one quantized weight: full name -> (safetensors dtype, shape); None where only packing tells the shape."""


class Options(BaseModel):
    """What a recipe may say beside ``backend`` and ``scheme``; a scheme without options uses this class itself."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


@dataclass(frozen=True)
class Scheme:
    """One thing a backend can be asked to do.

    Attributes:
        summary: What it does, for messages and cards.
        options: The type of its options, with their defaults.
        refuses: Libraries (``diffusers``, ``transformers``) whose components it cannot save, with the reason.
        makes_on: The device that the library needs to quantize: ``cpu`` where any machine does.
        runs_on: What a consumer needs, as a sentence for the card.
    """

    summary: str
    runs_on: str
    options: type[BaseModel] = Options
    refuses: Mapping[str, str] = field(default_factory=dict)
    makes_on: str = "cpu"


@dataclass(frozen=True)
class Packed:
    """One weight as its library saves it.

    Attributes:
        tensors: What is written, by full name, on the CPU and contiguous.
        metadata: What the library says of the weight in the header's metadata, if it does.
    """

    tensors: Mapping[str, torch.Tensor]
    metadata: str | None = None


Part = tuple[str, int, "NDArray[Any]"]
"""Content of one tensor of the result: its full name, the byte where the content begins in it, and the content."""


@dataclass(frozen=True)
class Finished:
    """What is known of a weight once all its pieces were packed.

    Attributes:
        tensors: The tensors, or what is left of them, that no piece returned; contiguous, in the order of `layout`.
        noise: The squared error that the scheme made, summed over the weight.
        signal: The squared values, summed over the weight; the SQNR in dB is ``10 * log10(signal / noise)``.
    """

    tensors: Mapping[str, NDArray[Any]]
    noise: float
    signal: float


class Packing(Protocol):
    """One weight on its way into a scheme: fed with pieces, in any order and from any thread.

    Attributes:
        unit: Pieces begin and end at multiples of this many values, the last one at the end of the weight.
    """

    unit: int

    def pack(self, first: int, values: NDArray[Any]) -> list[Part]:
        """Quantize the values from the ``first`` on; return what of the result is final with them.

        Values are one-dimensional, in row-major order: float32, float16, or bfloat16 as its bits (uint16). All are
        finite. They are not used after the call, and the parts do not share memory with them.

        Parts of one tensor come in its order when pieces do, without gaps, the bytes of a piece being its own.
        """

    def finish(self) -> Finished:
        """Return the rest, after every piece was packed."""


class Backend(Protocol):
    """A module that stands for one quantization library."""

    @property
    def EXTRA(self) -> str:  # noqa: N802
        """The extra of quantpress that installs the library."""

    @property
    def DISTRIBUTION(self) -> str:  # noqa: N802
        """The library's name on PyPI."""

    @property
    def PACKAGE(self) -> str:  # noqa: N802
        """The library's import name."""

    @property
    def SCHEMES(self) -> Mapping[str, Scheme]:  # noqa: N802
        """What the library can be asked for."""

    @property
    def SKIP(self) -> Mapping[str, str]:  # noqa: N802
        """The fields of a `pipeline.checkpoint.linears.SkipRule`."""

    def configuration(self, scheme: str, options: Mapping[str, Any]) -> dict[str, Any]:
        """Return the ``quantization_config`` that a user would pass to ``from_pretrained``, as JSON."""

    def layout(self, scheme: str, options: Mapping[str, Any], name: str, shape: tuple[int, ...], dtype: str) -> Layout:
        """Return the tensors that `pack` makes of a weight ``name`` of ``shape`` (out, in) and torch ``dtype``."""

    def pack(self, scheme: str, options: Mapping[str, Any], name: str, weight: torch.Tensor) -> Packed:
        """Quantize one weight of shape (out, in) with the library's own function, on the weight's device."""

    def packing(
        self, scheme: str, options: Mapping[str, Any], name: str, shape: tuple[int, ...], dtype: str
    ) -> Packing | None:
        """Return our own packing of a weight ``name`` of ``shape`` (out, in) and torch ``dtype``; None where there is none.

        It gives bit for bit what `pack` gives on a CPU, and needs neither torch nor the library.
        """

    def describe(
        self, scheme: str, options: Mapping[str, Any], name: str, shape: tuple[int, ...], dtype: str
    ) -> str | None:
        """Return what the library says of a weight in the header's metadata, where it does: `Packed.metadata`."""

    def metadata(self, parameters: list[str], packed: Mapping[str, str]) -> dict[str, str]:
        """Return the header's metadata for a file of these parameters, given what `pack` said of its weights."""


def require(backend: Backend, scheme: str) -> None:
    """Refuse a scheme that this machine cannot make.

    Raises:
        CannotHereError: The library is not installed, or it needs a device that is not here.
    """
    require_installed(backend, scheme)
    if backend.SCHEMES[scheme].makes_on == "cuda":
        import torch

        if not torch.cuda.is_available():
            raise CannotHereError(
                f"{backend.DISTRIBUTION} makes {scheme} on a CUDA device only, and this machine has none.",
                remedy="Run this target on a machine with a GPU, or leave it out with --target.",
            )


def require_installed(backend: Backend, scheme: str) -> None:
    """Refuse a scheme whose library is not there, even to be asked.

    Raises:
        CannotHereError: The library is not installed.
    """
    libraries = {"torch": "torch", backend.DISTRIBUTION: backend.PACKAGE}
    missing = [name for name, package in libraries.items() if not installed(package)]
    if missing:
        what = f"The scheme {scheme} needs the library {missing[0]}, which is not installed."
        remedy = f"Install it with pip install 'quantpress[{backend.EXTRA}]', or leave this target out with --target."
        raise CannotHereError(what, remedy=remedy)


def installed(package: str) -> bool:
    """Return whether a package can be imported, without importing it; its parents are."""
    try:
        return find_spec(package) is not None
    except ModuleNotFoundError:  # raised where a parent is missing, such as optimum of optimum.quanto
        return False

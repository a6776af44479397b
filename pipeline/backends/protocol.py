"""What a backend is: its schemes, and the functions that stages call."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypedDict, runtime_checkable

from pydantic import BaseModel, ConfigDict, Field

from pipeline.backends.artifact import Artifact, BuildRequest
from pipeline.backends.loader import Loader
from pipeline.backends.oracle.quirks import Quirks
from pipeline.kernels.packing import Finished, Packing, Part

if TYPE_CHECKING:
    import torch

__all__ = [
    "Backend",
    "Calibrated",
    "Finished",
    "Layout",
    "Loader",
    "Named",
    "Options",
    "Packed",
    "Packing",
    "Part",
    "Scheme",
    "Skip",
    "Streaming",
]

Layout = dict[str, tuple[str, tuple[int, ...] | None]]
"""Tensors of one quantized weight: full name -> (safetensors dtype, shape); None where only packing tells the shape."""


Activations = Literal["weight-only", "dynamic", "static"]


class Options(BaseModel):
    """What a recipe may say beside ``backend`` and ``scheme``; a scheme without options uses this class itself."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class Calibrated(Options):
    """What a scheme takes that fits something to answers of the source.

    Attributes:
        samples: How many of the recipe's questions the source is asked for it, the first ones.
    """

    samples: int = Field(default=32, ge=1, le=1000)


class Named(Options):
    """Whose names the tensors of a file have.

    Attributes:
        names: Those of whoever trained the family, as its own loaders read them, or diffusers'.
    """

    names: Literal["family", "diffusers"] = Field(default="family", description="Whose names its tensors have.")


class Skip(TypedDict):
    """How a library is told which modules to leave alone.

    Attributes:
        key: The key of ``quantization_config`` that holds the list.
        spelling: What one entry is compared with: a whole ``module`` name, a whole ``parameter`` name,
            or only the ``leaf`` of a module's name. transformers reads patterns in the first two, which ``verbatim``
            module names are not.
    """

    key: str
    spelling: Literal["module", "parameter", "leaf", "verbatim"]


@dataclass(frozen=True)
class Scheme:
    """One thing a backend can be asked to do.

    Attributes:
        summary: What it does, for messages and cards.
        options: The type of its options, with their defaults.
        refuses: Libraries (``diffusers``, ``transformers``) whose components it cannot save, with the reason.
        makes_on: The device that the library needs to quantize: ``cpu`` where any machine does.
        runs_on: What a consumer needs, as a sentence for the card.
        sqnr: Decibels of signal over noise that it leaves of normally distributed weights in rows of 2048.
        bits: Bits that a weight takes with its share of scales and the like, from which a plan estimates sizes where
            the backend cannot say them exactly, which `Streaming` ones do.
        multiple: What the values of a row must be a multiple of, where no option says so.
        activations: What becomes of activations: nothing (``weight-only``); or they are quantized too, which adds as
            much noise again, 3 dB of `sqnr`: each as it comes (``dynamic``), or by a scale that was measured before and
            is saved (``static``).
        suffix: What the names of its files end with, as those who choose one expect it: transformers.js of graphs, the
            pickers of single files; empty where they are called otherwise.
        capability: The least compute capability of a CUDA device that runs it; 0 where any does.
        dtype: The only dtype of what is not quantized, which no recipe needs to say; empty where there are more.
        ends: Why its library will not be read for long, as a sentence; empty where nobody said so.
    """

    summary: str
    runs_on: str
    sqnr: float
    options: type[BaseModel] = Options
    refuses: Mapping[str, str] = field(default_factory=dict)
    makes_on: str = "cpu"
    bits: float = 0.0
    multiple: int = 1
    activations: Activations = "weight-only"
    suffix: str = ""
    capability: float = 0.0
    dtype: str = ""
    ends: str = ""

    @property
    def computes_in_codes(self) -> bool:
        """Whether activations are quantized as well."""
        return self.activations != "weight-only"


@dataclass(frozen=True)
class Packed:
    """One weight as its library saves it.

    Attributes:
        tensors: What is written, by full name, on the CPU and contiguous.
        metadata: What the library says of the weight in the header's metadata, if it does.
    """

    tensors: Mapping[str, torch.Tensor]
    metadata: str | None = None


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
    def SKIP(self) -> Skip:  # noqa: N802
        """How it is told which modules to leave alone."""

    @property
    def LOADERS(self) -> Mapping[str, Loader]:  # noqa: N802
        """How what it makes is loaded, by the library of the component: ``diffusers``, ``transformers`` or both."""

    def configuration(self, scheme: str, options: Mapping[str, Any]) -> dict[str, Any]:
        """Return the ``quantization_config`` that a user would pass to ``from_pretrained``, as JSON."""

    def quirks(self) -> Quirks:
        """Return what the library does beside what its quantizers say; called where it is installed."""

    def build(self, request: BuildRequest) -> Artifact:
        """Make a component as a user of the library would; `pipeline.backends.build.build` does for most."""


@runtime_checkable
class Streaming(Backend, Protocol):
    """A backend that can also say what becomes of each weight, so that components need not be held whole."""

    def layout(self, scheme: str, options: Mapping[str, Any], name: str, shape: tuple[int, ...], dtype: str) -> Layout:
        """Return the tensors that `pack` makes of a weight ``name`` of ``shape`` (out, in) and torch ``dtype``."""

    def pack(self, scheme: str, options: Mapping[str, Any], name: str, weight: torch.Tensor) -> Packed:
        """Quantize one weight of shape (out, in) with the library's own function, on the weight's device."""

    def packing(
        self, scheme: str, options: Mapping[str, Any], name: str, shape: tuple[int, ...], dtype: str
    ) -> Packing | None:
        """Return our own packing of a weight ``name`` of ``shape`` (out, in) and torch ``dtype``, where there is one.

        It gives bit for bit what `pack` gives on a CPU, and needs neither torch nor the library.
        """

    def describe(
        self, scheme: str, options: Mapping[str, Any], name: str, shape: tuple[int, ...], dtype: str
    ) -> str | None:
        """Return what the library says of a weight in the header's metadata, where it does: `Packed.metadata`."""

    def metadata(
        self, scheme: str, class_name: str, parameters: list[str], packed: Mapping[str, str]
    ) -> Mapping[str, Any]:
        """Return the header's metadata for a file of a component's parameters, given what `pack` said of its weights.

        Values are texts; GGUF has numbers as well.
        """

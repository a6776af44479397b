"""The metrics: what each needs, its unit, which way is better, and how it reads a pair of pictures."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

from pydantic import BaseModel, ConfigDict, Field

from pipeline.quality.clip import clip_scorer
from pipeline.quality.digits import read_digits

if TYPE_CHECKING:
    from PIL import Image

IDENTICAL_PSNR = 100.0
"""Decibels that stand for identical pictures, whose PSNR is infinite; nothing is recorded as more than this.

Two 8-bit pictures of 32 x 32 that differ in a single value by a single level have 83 dB, of 1024 x 1024 113 dB: what
the cap levels is beyond seeing, and a mean over pairs stays finite.
"""
DIGITS = tuple("0123456789")
SSIM_WINDOW = 11  # pixels; the width of torchmetrics' Gaussian window


@dataclass(frozen=True)
class Pair:
    """The source's and the candidate's answer to the same prompt and seed: RGB pictures of one size."""

    prompt: str
    label: str | None
    seed: int
    reference: Image.Image
    candidate: Image.Image


class Sizes(BaseModel):
    """Bytes of the source's files that a consumer downloads, and of the candidate's."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    source: int = Field(gt=0)
    result: int = Field(ge=0)


@dataclass(frozen=True)
class Given:
    """All that a metric may need."""

    pairs: tuple[Pair, ...]
    sizes: Sizes | None = None
    clip_model: Path | None = None


@dataclass(frozen=True)
class Reading:
    """One value of the candidate, and the source's own where the metric looks at one picture at a time."""

    value: float
    reference: float | None = None


@dataclass(frozen=True)
class Measured:
    """A metric's result: over all pairs, and pair by pair where there are pairs behind it."""

    value: float
    reference: float | None = None
    readings: tuple[Reading, ...] = ()


class Metric(Protocol):
    """What the verdict asks of a metric."""

    @property
    def unit(self) -> str: ...  # noqa: D102 - the unit of its values, empty for plain ratios
    @property
    def direction(self) -> Literal["higher", "lower"]: ...  # noqa: D102 - which way is better

    def lacks(self, given: Given) -> str:
        """Return what is missing to measure it, as the end of the sentence "it needs ..."; empty if nothing is."""
        ...

    def measure(self, given: Given) -> Measured:
        """Measure it; everything it needs is given."""
        ...


Read = Callable[[Pair], Reading]


@dataclass(frozen=True)
class PairMetric:
    """A metric that reads pair by pair and is the mean of its readings.

    Attributes:
        unit: Of its values.
        direction: Which way is better.
        open: Makes the function that reads one pair; models are loaded here, once.
        lacks: See ``Metric``.
    """

    unit: str
    direction: Literal["higher", "lower"]
    open: Callable[[Given], Read]
    lacks: Callable[[Given], str] = lambda _: ""

    def measure(self, given: Given) -> Measured:
        """Read every pair and take the means."""
        read = self.open(given)
        readings = tuple(read(pair) for pair in given.pairs)
        own = [reading.reference for reading in readings if reading.reference is not None]
        value = sum(reading.value for reading in readings) / len(readings)
        return Measured(value, sum(own) / len(own) if own else None, readings)


@dataclass(frozen=True)
class SizeRatio:
    """Bytes of the result divided by bytes of the source."""

    unit: str = ""
    direction: Literal["higher", "lower"] = "lower"

    def lacks(self, given: Given) -> str:
        """Sizes are counted by the caller, who knows which files a consumer downloads."""
        return "" if given.sizes else "the sizes of source and result"

    def measure(self, given: Given) -> Measured:
        """Divide."""
        sizes = given.sizes or Sizes(source=1, result=0)
        return Measured(sizes.result / sizes.source)


def _tensor(picture: Image.Image) -> Any:
    """Return a picture as values from 0 to 255, shape (1, 3, height, width).

    In float64: SSIM subtracts squares of means, and float32 is off by 2e-4 where a picture is even.
    """
    import numpy as np
    import torch

    return torch.from_numpy(np.array(picture)).permute(2, 0, 1).unsqueeze(0).double()


def _psnr(_: Given) -> Read:
    """Peak signal-to-noise ratio for a peak of 255, over all channels (torchmetrics), at most ``IDENTICAL_PSNR``."""
    from torchmetrics.functional.image import peak_signal_noise_ratio

    def read(pair: Pair) -> Reading:
        decibels = peak_signal_noise_ratio(_tensor(pair.candidate), _tensor(pair.reference), data_range=255.0)
        return Reading(min(float(decibels), IDENTICAL_PSNR))

    return read


def _ssim(_: Given) -> Read:
    """Structural similarity with a Gaussian window (Wang et al., 2004; torchmetrics), 1 for identical pictures."""
    from torchmetrics.functional.image import structural_similarity_index_measure

    def read(pair: Pair) -> Reading:
        likeness = structural_similarity_index_measure(
            _tensor(pair.candidate), _tensor(pair.reference), data_range=255.0
        )
        return Reading(float(likeness))

    return read


def _lacks_room(given: Given) -> str:
    side = min(min(pair.reference.size) for pair in given.pairs)
    return "" if side >= SSIM_WINDOW else f"pictures of {SSIM_WINDOW} pixels or more a side, not {side}"


def _clip_score(given: Given) -> Read:
    """CLIP score of prompt and picture, for the source's picture and the candidate's."""
    score = clip_scorer(given.clip_model or Path())
    return lambda pair: Reading(score(pair.prompt, pair.candidate), score(pair.prompt, pair.reference))


def _lacks_clip(given: Given) -> str:
    return "" if given.clip_model else "a CLIP model, named under clip_score.model"


def _label_accuracy(_: Given) -> Read:
    """1 where the digit read from the picture is the prompt's label, else 0, for both sides."""

    def read(pair: Pair) -> Reading:
        candidate, reference = read_digits([pair.candidate, pair.reference])
        return Reading(float(str(candidate) == pair.label), float(str(reference) == pair.label))

    return read


def _lacks_labels(given: Given) -> str:
    """Labels of other kinds than digits are for readers yet to come."""
    return "" if all((pair.label or "") in DIGITS for pair in given.pairs) else "a digit as label of every prompt"


METRICS: dict[str, Metric] = {
    "psnr": PairMetric("dB", "higher", _psnr),
    "ssim": PairMetric("", "higher", _ssim, _lacks_room),
    "clip_score": PairMetric("points", "higher", _clip_score, _lacks_clip),
    "label_accuracy": PairMetric("", "higher", _label_accuracy, _lacks_labels),
    "size_ratio": SizeRatio(),
}

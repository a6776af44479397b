"""What tuning measured and what it proposes."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

from pipeline.recipe import Quantization
from pipeline.validate.report import Interval, Verdict

Change = dict[str, Quantization | None]
"""Components of a target that are quantized otherwise, none where one is left as it is from now on."""


class Value(BaseModel):
    """Frozen and closed."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class GroupTrial(Value):
    """Layers that were given back to the source, and what it brought on a few prompts.

    Attributes:
        name: The component and what its recipe would keep.
        layers: How many quantized layers that is.
        size: Bytes that keeping them costs.
        sqnr: Decibels that the least of them keeps of its signal.
        gain: Decibels of PSNR.
    """

    name: str
    layers: int
    size: int
    sqnr: float | None
    gain: float


class TuningCandidate(Value):
    """A change of the target that might pass.

    Attributes:
        words: What it does.
        change: The components that it changes.
        size_ratio: Bytes of the target over bytes of the source.
        expected: What the limits are held against, as estimated from the few prompts, by ``metric of``.
        holds: Whether all limits are expected to hold.
        verdict: What the whole validation said and, where that is PASS, the unseen prompts alone; none where it was not
            asked.
        found: What was found of each required metric then.
    """

    words: str
    change: Change
    size_ratio: float
    expected: dict[str, float]
    holds: bool
    verdict: Verdict | None = None
    found: dict[str, Interval] = {}


class Tuned(Value):
    """What tuning a target came to.

    Attributes:
        target: Its name in the recipe.
        task: What it is for.
        verdict: As the recipe is written.
        size_ratio: Bytes of the target over bytes of the source, as written.
        found: What was found of each required metric, as written.
        prompts: How many prompts each trial asked.
        unseen: How many others the proposal is judged on.
        groups: Layers that were tried, the most worth first.
        attempts: The changes that were held against the limits, the smallest first; those that hold were validated in
            this order until one passed.
        proposal: The one that passes at the least size, on all prompts and on the unseen ones alone; none where nothing
            was found or nothing is to be done.
        trials: How many times the few prompts were asked.
        seconds: All of it took.
    """

    target: str
    task: str
    verdict: Verdict
    size_ratio: float
    found: dict[str, Interval]
    prompts: int = 0
    unseen: int = 0
    groups: tuple[GroupTrial, ...] = ()
    attempts: tuple[TuningCandidate, ...] = ()
    proposal: TuningCandidate | None = None
    trials: int = 0
    seconds: float = 0.0

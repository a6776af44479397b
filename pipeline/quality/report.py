"""The report: what was measured on a candidate, against which limits, and what follows."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict

from pipeline.quality.answers import Facts
from pipeline.quality.metrics import Sizes


class Value(BaseModel):
    """Frozen, without surplus keys, and without NaN or Infinity, which JSON cannot hold."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Worst(Value):
    """The pair that speaks loudest against the candidate: the lowest value, or the largest drop from the source's."""

    prompt: int
    seed: int
    value: float


class Finding(Value):
    """One metric over all pairs.

    Attributes:
        value: The candidate's; the mean over pairs where there are pairs. PSNR counts identical pictures as 100 dB.
        reference: The source's own, where the metric looks at one picture at a time.
        drop: ``reference - value``.
        unit: Of value, reference and drop; empty for plain ratios.
        direction: Which way is better.
        limit: What the recipe requires, in words; empty if nothing.
        passed: Whether it holds; none if nothing is required.
        worst: The pair to look at first.
    """

    value: float
    reference: float | None = None
    drop: float | None = None
    unit: str = ""
    direction: Literal["higher", "lower"]
    limit: str = ""
    passed: bool | None = None
    worst: Worst | None = None


class PairReport(Value):
    """One prompt and seed: the files of both answers and every metric's value.

    Attributes:
        prompt: Index of the prompt in the request.
        text: The prompt.
        label: What its picture must show, if the prompts say.
        seed: The seed.
        reference: File name of the source's picture.
        candidate: File name of the candidate's picture.
        identical: Whether the two hold the same pixels.
        values: The candidate's value by metric.
        reference_values: The source's own by metric, where it has one.
    """

    prompt: int
    text: str
    label: str | None
    seed: int
    reference: str
    candidate: str
    identical: bool
    values: dict[str, float]
    reference_values: dict[str, float]


class Report(Value):
    """What was measured and what follows.

    Attributes:
        verdict: INCONCLUSIVE is for limits that lie inside the measurement's own noise; nothing gives it yet.
        reasons: Sentences with numbers: what failed, or what held if nothing failed.
        metrics: Every metric that could be measured, required or not.
        unmeasured: The others, and what they would need.
        pairs: Ordered by prompt, then seed.
        identical: Pairs whose two pictures hold the same pixels.
        reference: How the source answered.
        candidate: How the candidate answered.
        sizes: Bytes of source and result, if given.
    """

    verdict: Literal["PASS", "FAIL", "INCONCLUSIVE"]
    reasons: tuple[str, ...]
    metrics: dict[str, Finding]
    unmeasured: dict[str, str]
    pairs: tuple[PairReport, ...]
    identical: int
    reference: Facts
    candidate: Facts
    sizes: Sizes | None = None

"""The report: what was measured on a candidate, against which limits, and what follows."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue

from pipeline.tasks.answers import Facts
from pipeline.tasks.metrics import Sizes

Verdict = Literal["PASS", "FAIL", "INCONCLUSIVE"]
UseKind = Literal["lora", "compile", "device", "browser"]
Statistic = Literal["value", "drop", "ratio", "worst", "worst drop"]


class Value(BaseModel):
    """Frozen, without surplus keys, and without NaN or Infinity, which JSON cannot hold."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Reason(Value):
    """One sentence of why the verdict is what it is; what explains most stands first in a report.

    Attributes:
        about: Where it was seen: in the files, in a layer, in an answer, in a metric, or in a use; in older reports
            answers are pictures.
        verdict: What it would make of the whole by itself.
        text: The sentence, with its numbers.
    """

    about: Literal["file", "layer", "answer", "picture", "metric", "use"]
    verdict: Verdict
    text: str


class Worst(Value):
    """A pair that speaks loudly against the candidate: a low value, or a large drop from the source's."""

    prompt: int
    seed: int
    value: float


class Interval(Value):
    """A mean over prompts with its 95 % confidence interval; the ends of any other number are the number itself."""

    number: float
    low: float
    high: float


class LimitResult(Value):
    """One limit of the recipe, held against the interval of what was measured.

    Attributes:
        words: What is required, such as ``at least 18 dB`` or ``a drop of at most 0.5 points``.
        of: Of what: the candidate's value, its drop from the source's (where less is better its rise), either of them
            in its worst answer, or in older reports its ratio to the source's.
        kind: Whether the bound is the least or the most that passes.
        bound: The recipe's bound, or what follows from it for the worst answer.
        found: What was measured.
        floor: The same number between two runs of the source itself; it moves no bound.
        verdict: PASS where the whole interval is within the limit, FAIL where it is wholly outside, INCONCLUSIVE
            between them and where there are too few prompts for an interval.
        prompts_needed: How many prompts would settle an INCONCLUSIVE one in four of five samples; none where it is more
            than 100,000.
    """

    words: str
    of: Statistic
    kind: Literal["min", "max"]
    bound: float
    found: Interval
    floor: float | None = None
    verdict: Verdict
    prompts_needed: int | None = None


class Finding(Value):
    """One metric over all pairs.

    Attributes:
        value: The candidate's; the mean over pairs where there are pairs. PSNR counts identical pictures as 60 dB.
        median: The candidate's median over prompts, where there are pairs.
        interval: Of value, over prompts; none where there are no pairs behind it.
        error: The standard error of value over what was read in the answers, such as tokens.
        reference: The source's own, where the metric looks at one side at a time.
        drop: How much worse than the source's it is, and its interval: ``reference - value``, or where less is better
            ``value - reference``.
        ratio: ``value / reference``, of what a model costs.
        floor: The mean between two runs of the source itself: of the value where two answers are compared, else of the
            size of the drop.
        unit: Of value, reference and drop; empty for plain ratios.
        direction: Which way is better.
        judgements: What the recipe requires of it, and whether it holds.
        worst: The pairs to look at first, at most three.
    """

    value: float
    median: float | None = None
    interval: Interval | None = None
    error: float | None = Field(default=None, exclude_if=lambda value: value is None)
    reference: float | None = None
    drop: Interval | None = None
    ratio: Interval | None = None
    floor: float | None = None
    unit: str = ""
    direction: Literal["higher", "lower"]
    judgements: tuple[LimitResult, ...] = ()
    worst: tuple[Worst, ...] = ()

    @property
    def change(self) -> str:
        """What ``drop`` is in words."""
        return change(self.direction)


def change(direction: str) -> str:
    """Return what becoming worse is where the given direction is better."""
    return "drop" if direction == "higher" else "rise"


class PairReport(Value):
    """One prompt and seed: the files of both answers and every metric's value.

    Attributes:
        prompt: Index of the prompt in the request.
        text: The prompt.
        label: What its answer must show, if the prompts say.
        seed: The seed.
        reference: File name of the source's answer.
        candidate: File name of the candidate's answer.
        texts: What the source and the candidate answered, where answers are texts.
        identical: Whether the two are the same, bit for bit.
        fault: What makes the candidate's answer none; empty for an answer.
        values: The candidate's value by metric.
        reference_values: The source's own by metric, where it has one.
    """

    prompt: int
    text: str
    label: str | None
    seed: int
    reference: str
    candidate: str
    texts: tuple[str, str] | None = Field(default=None, exclude_if=lambda value: value is None)
    identical: bool
    fault: str = ""
    values: dict[str, float]
    reference_values: dict[str, float]


class LayerReport(Value):
    """One layer as the loaded candidate computes it, against the source's.

    Attributes:
        component: Such as ``transformer``.
        name: The module's name, or the tensor's where it is no Linear.
        quantized: Whether the scheme took it.
        sqnr: Signal to quantization noise of what it answers to fixed noise, in decibels; 100 for identical answers,
            none where they are no numbers.
        made: The same of its weights when they were quantized, where that was measured.
        fault: What is wrong with it; empty if nothing.
    """

    component: str
    name: str
    quantized: bool
    sqnr: float | None
    made: float | None = None
    fault: str = ""


class CompatibilityCheck(Value):
    """Something users do next, tried: a LoRA loaded, ``torch.compile``, a small device, or a page in a browser.

    Attributes:
        kind: Which of them.
        name: What it is, such as the LoRA's repository, the compiled component, the device's memory, or what the page
            loads it by.
        verdict: Whether it works.
        text: What was seen, in one sentence with its numbers.
        numbers: The numbers of that sentence by name.
        settings: With what it was tried, where a card repeats that: what a page gives to load it.
    """

    kind: UseKind
    name: str
    verdict: Verdict
    text: str
    numbers: dict[str, float]
    settings: dict[str, JsonValue] = Field(default={}, exclude_if=lambda value: not value)


class Floor(Value):
    """How the source was run a second time, so that its own noise is known.

    Attributes:
        varied: What was different from the first run, which ought not to matter.
        pairs: How many answers were made again.
        identical: How many of them came out the same.
    """

    varied: str
    pairs: int
    identical: int


class Report(Value):
    """What was measured and what follows.

    Attributes:
        task: What was asked, by its name in a recipe; older reports are all of text to image and do not say it.
        verdict: FAIL where anything fails, else INCONCLUSIVE where the sample does not settle a limit, else PASS.
        reasons: What decided, first what explains most; what held where nothing failed.
        metrics: Every metric that could be measured, required or not.
        unmeasured: The others, and what they would need.
        pairs: Ordered by prompt, then seed.
        identical: Pairs whose two answers are the same, bit for bit.
        layers: Every layer of every component that answers; the worst first.
        uses: What users do next, tried.
        floor: How the noise floor was measured.
        reference: How the source answered.
        candidate: How the candidate answered.
        sizes: Bytes of source and result, if given.
    """

    task: str = "text-to-image"
    verdict: Verdict
    reasons: tuple[Reason, ...]
    metrics: dict[str, Finding]
    unmeasured: dict[str, str]
    pairs: tuple[PairReport, ...]
    identical: int
    layers: tuple[LayerReport, ...] = ()
    uses: tuple[CompatibilityCheck, ...] = ()
    floor: Floor | None = None
    reference: Facts
    candidate: Facts
    sizes: Sizes | None = None

    @property
    def why(self) -> str:
        """The reasons as one text."""
        return " ".join(reason.text for reason in self.reasons)

"""Does a checkpoint behave as its source does: draw the same prompts with both, measure, and judge."""

from pipeline.quality.answers import Answers, Facts, GenerationError, Picture, Request
from pipeline.quality.generate import generate
from pipeline.quality.metrics import METRICS, Sizes
from pipeline.quality.pairs import Prompt, Side
from pipeline.quality.report import Finding, PairReport, Report
from pipeline.quality.sheet import grid
from pipeline.quality.verdict import Besides, judge

__all__ = [
    "METRICS",
    "Answers",
    "Besides",
    "Facts",
    "Finding",
    "GenerationError",
    "PairReport",
    "Picture",
    "Prompt",
    "Report",
    "Request",
    "Side",
    "Sizes",
    "generate",
    "grid",
    "judge",
]

"""Does a checkpoint behave as its source does: draw the same prompts with both, measure, and judge."""

from pipeline.validate.answers import Answers, Facts, GeneratedImage, Request
from pipeline.validate.generate import generate
from pipeline.validate.metrics import METRICS, Sizes
from pipeline.validate.pairs import Prompt, Side
from pipeline.validate.report import Finding, PairReport, Report
from pipeline.validate.sheet import grid
from pipeline.validate.verdict import Evidence, judge

__all__ = [
    "METRICS",
    "Answers",
    "Evidence",
    "Facts",
    "Finding",
    "GeneratedImage",
    "PairReport",
    "Prompt",
    "Report",
    "Request",
    "Side",
    "Sizes",
    "generate",
    "grid",
    "judge",
]

"""Does a checkpoint behave as its source does: draw the same prompts with both, measure, and judge."""

from pipeline.tasks.answers import Answers, Facts, GeneratedImage, Request
from pipeline.tasks.images import METRICS, Sizes
from pipeline.tasks.images.sheet import grid
from pipeline.validate.generate import generate
from pipeline.validate.pairs import Prompt, Side
from pipeline.validate.report import Finding, PairReport, Report
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

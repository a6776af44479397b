"""Does a checkpoint behave as its source does: ask both the same, measure, and judge."""

from pipeline.validate.generate import generate
from pipeline.validate.pairs import Prompt, Side
from pipeline.validate.report import Finding, PairReport, Report
from pipeline.validate.verdict import Evidence, judge

__all__ = ["Evidence", "Finding", "PairReport", "Prompt", "Report", "Side", "generate", "judge"]

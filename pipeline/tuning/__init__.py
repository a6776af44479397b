"""Tune: what to keep, or which scheme to raise, so that a target passes its verdict at the least size."""

from pipeline.tuning.proposal import difference, propose, rewrite, told
from pipeline.tuning.search import tune
from pipeline.tuning.values import Attempt, GroupTrial, Tuned

__all__ = ["Attempt", "GroupTrial", "Tuned", "difference", "propose", "rewrite", "told", "tune"]

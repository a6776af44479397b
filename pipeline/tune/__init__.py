"""Tune: what to keep, or which scheme to raise, so that a target passes its verdict at the least size."""

from pipeline.tune.proposal import difference, propose, rewrite, told
from pipeline.tune.search import tune
from pipeline.tune.values import GroupTrial, Tuned, TuningCandidate

__all__ = ["GroupTrial", "Tuned", "TuningCandidate", "difference", "propose", "rewrite", "told", "tune"]

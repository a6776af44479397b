"""How long an embedding still is, which matters where it is not brought to length 1."""

from __future__ import annotations

from pipeline.tasks.metrics import MetricInput, PairMetric, Reading


def _length_ratio(given: MetricInput) -> list[Reading]:
    """Divide the shorter of two lengths by the longer."""
    import numpy as np

    lengths = [sorted(float(np.linalg.norm(side)) for side in (pair.reference, pair.candidate)) for pair in given.pairs]
    return [Reading(shorter / longer) for shorter, longer in lengths]


LENGTH_RATIO = PairMetric("", "higher", _length_ratio, ends=(0.0, 1.0))

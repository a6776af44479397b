"""Does a picture show what its prompt's label says."""

from __future__ import annotations

from pipeline.tasks.images.digits import read_digits
from pipeline.tasks.metrics import MetricInput, PairMetric, Reading

DIGITS = tuple("0123456789")


def _label_accuracy(given: MetricInput) -> list[Reading]:
    """1 where the digit read from the picture is the prompt's label, else 0, for both sides."""
    digits = iter(read_digits([picture for pair in given.pairs for picture in (pair.candidate, pair.reference)]))
    right = [(str(next(digits)) == pair.label, str(next(digits)) == pair.label) for pair in given.pairs]
    return [Reading(float(candidate), float(reference)) for candidate, reference in right]


def _lacks_labels(given: MetricInput) -> str:
    """Labels of other kinds than digits are for readers yet to come."""
    return "" if all((pair.label or "") in DIGITS for pair in given.pairs) else "a digit as label of every prompt"


LABEL_ACCURACY = PairMetric("", "higher", _label_accuracy, _lacks_labels, span=(0.0, 1.0), ends=(0.0, 1.0))

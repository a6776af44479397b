"""Does a picture show what its prompt's label says."""

from __future__ import annotations

from pipeline.quality.metrics.digits import read_digits
from pipeline.quality.metrics.protocol import Given, Pair, PairMetric, Read, Reading

DIGITS = tuple("0123456789")


def _label_accuracy(_: Given) -> Read:
    """1 where the digit read from the picture is the prompt's label, else 0, for both sides."""

    def read(pair: Pair) -> Reading:
        candidate, reference = read_digits([pair.candidate, pair.reference])
        return Reading(float(str(candidate) == pair.label), float(str(reference) == pair.label))

    return read


def _lacks_labels(given: Given) -> str:
    """Labels of other kinds than digits are for readers yet to come."""
    return "" if all((pair.label or "") in DIGITS for pair in given.pairs) else "a digit as label of every prompt"


LABEL_ACCURACY = PairMetric("", "higher", _label_accuracy, _lacks_labels, span=(0.0, 1.0))

"""How sure a mean over prompts is: the interval that resampling the prompts gives, and how many would make it narrow.

Prompts are what is drawn from the world, so prompts are what is resampled; the seeds of one prompt are averaged first.
A number that compares two sides is formed from pairs within each resample, so what makes a prompt hard cancels out.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import sqrt
from statistics import NormalDist
from typing import TYPE_CHECKING, Any

from pipeline.quality.report import Interval

if TYPE_CHECKING:
    from numpy.typing import NDArray

CONFIDENCE = 0.95
RESAMPLES = 4000
SEED = 0  # the same readings give the same interval
TINY = 1e-9  # of the spread of all values: a resample that spreads less holds one value again and again
FARTHEST = 100_000  # prompts that nobody will draw: beyond them a question counts as open for good


def interval(values: Sequence[float], prior: Sequence[float] = ()) -> Interval:
    """Return the mean of one value a prompt with its interval.

    Args:
        values: One number a prompt.
        prior: Imagined prompts that are drawn as well. Where values are shares of yes and no, a sample that all says
            yes would claim certainty; one more of either keeps the interval honest (Agresti and Coull, 1998; for
            differences of pairs Bonett and Price, 2012).
    """
    import numpy as np

    mean = float(np.mean(values))
    drawn = np.array([*values, *prior], dtype=float)
    resampled = drawn[_resamples(len(drawn))]
    low, high = _ends(resampled.mean(axis=1), len(drawn))
    if not prior and len(values) > 1:
        studentized = _studentized(drawn, resampled)
        low, high = min(low, studentized[0]), max(high, studentized[1])
    return Interval(number=mean, low=min(low, mean), high=max(high, mean))


def ratio_interval(values: Sequence[float], references: Sequence[float]) -> Interval:
    """Return the ratio of two means over the same prompts with its interval."""
    import numpy as np

    above, below = np.array(values, dtype=float), np.array(references, dtype=float)
    chosen = _resamples(len(above))
    low, high = _ends(above[chosen].mean(axis=1) / below[chosen].mean(axis=1), len(above))
    ratio = float(above.mean() / below.mean())
    return Interval(number=ratio, low=min(low, ratio), high=max(high, ratio))


def prompts_needed(values: Sequence[float], bound: float, prior: Sequence[float] = ()) -> int | None:
    """Return about how many prompts would keep the interval off a bound, if more of them came out like these.

    Args:
        values: One number a prompt.
        bound: What the mean is held against.
        prior: See ``interval``.

    Returns:
        None where that is more than anybody will draw.
    """
    few, many = len(values), FARTHEST + 1
    while few + 1 < many:
        middle = (few + many) // 2
        if _settles(middle, values, bound, prior):
            many = middle
        else:
            few = middle
    return many if many <= FARTHEST else None


def _settles(prompts: int, values: Sequence[float], bound: float, prior: Sequence[float]) -> bool:
    """Tell whether the normal interval around the mean of so many prompts like these leaves out the bound."""
    size, weight = prompts + len(prior), prompts / len(values)
    mean = (weight * sum(values) + sum(prior)) / size
    square = (weight * sum(value**2 for value in values) + sum(value**2 for value in prior)) / size
    reach = NormalDist().inv_cdf((1 + CONFIDENCE) / 2) * sqrt(max(square - mean**2, 0.0) / size)
    return abs(mean - bound) > reach


def _resamples(size: int) -> NDArray[Any]:
    """Return the indices of each resample, shape (resamples, size)."""
    import numpy as np

    return np.random.default_rng(SEED).integers(0, size, (RESAMPLES, size))


def _ends(means: NDArray[Any], size: int) -> tuple[float, float]:
    """Return the expanded percentiles: plain ones are too narrow for few prompts (Hesterberg, 2015, section 4.4)."""
    import numpy as np

    tail = (1 - CONFIDENCE) / 2
    if size > 1:
        tail = NormalDist().cdf(-sqrt(size / (size - 1)) * _student(1 - tail, size - 1))
    low, high = np.quantile(means, [tail, 1 - tail])
    return float(low), float(high)


def _studentized(values: NDArray[Any], resampled: NDArray[Any]) -> tuple[float, float]:
    """Return the ends of the bootstrap-t interval (Hall, 1988): where values are skewed, percentiles lean too little.

    A mean that is low by chance comes with a small spread, so each resample is measured by its own. Resamples of one
    value only, which have none, say nothing; nor does any say that the mean lies beyond all values.
    """
    import numpy as np

    mean, spread = values.mean(), values.std()
    spreads = resampled.std(axis=1)
    told = spreads > TINY * spread
    if not told.any():
        return float(mean), float(mean)
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile((resampled[told].mean(axis=1) - mean) / spreads[told], [tail, 1 - tail])
    return max(float(mean - high * spread), float(values.min())), min(float(mean - low * spread), float(values.max()))


def _student(probability: float, freedom: int) -> float:
    """Return a quantile of Student's t by its expansion around the normal one (Abramowitz and Stegun, 26.7.5)."""
    z = NormalDist().inv_cdf(probability)
    first = (z**3 + z) / 4
    second = (5 * z**5 + 16 * z**3 + 3 * z) / 96
    third = (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384
    return z + first / freedom + second / freedom**2 + third / freedom**3

"""Confidence intervals of a mean over prompts, and how many prompts would make one narrow enough.

Prompts are what is drawn from the world, so prompts are what is counted; the seeds of one prompt are averaged first.
A number that compares two sides is formed prompt by prompt, so what makes a prompt hard cancels out.

Measured with ``python -m tests.quality.simulate``: from ``LEAST`` prompts on, 93 % or more of the intervals hold the
world's mean where values are normal, skewed or exponential. No interval can know of what is rarer than one prompt in
the sample: for that there is ``share_outside``.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil, sqrt
from typing import TYPE_CHECKING, Any

from pipeline.validate.report import Interval

if TYPE_CHECKING:
    from numpy.typing import NDArray

CONFIDENCE = 0.95
POWER = 0.8  # of new samples that are to settle what one left open
LEAST = 8  # prompts below which an interval of skewed values does not hold what it says
TINY = 1e-9  # of the values' size: a spread below it is rounding
FARTHEST = 100_000  # prompts that nobody will draw


def interval(values: Sequence[float], prior: Sequence[float] = ()) -> Interval:
    """Return the mean of one value a prompt with its confidence interval; a single value is its own.

    Args:
        values: One number a prompt.
        prior: Imagined prompts that are counted as well. Where values are shares of yes and no, a sample that all says
            yes would claim certainty; a few more of either keep the interval honest (Agresti and Coull, 1998; for
            differences of pairs Bonett and Price, 2012). With them the t interval suffices.
    """
    import numpy as np

    mean, (low, high) = float(np.mean(values)), ends(np.array(values, dtype=float), prior)
    return Interval(number=mean, low=min(float(low), mean), high=max(float(high), mean))


def ends(values: NDArray[Any], prior: Sequence[float] = ()) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return both ends of the intervals of many samples at once.

    Two intervals are joined: Student's t, and t on Hall's transformation, which takes the skewness out
    (Hall, 1992, https://doi.org/10.1111/j.2517-6161.1992.tb01873.x) and reaches farther towards the longer tail.

    Args:
        values: One number a prompt, shape (..., prompts).
        prior: See ``interval``.
    """
    import numpy as np
    from scipy.stats import t

    counted = np.concatenate([values, np.broadcast_to(prior, (*values.shape[:-1], len(prior)))], axis=-1)
    size, mean = counted.shape[-1], counted.mean(axis=-1)
    if size < 2:
        return mean, mean
    spread = counted.std(axis=-1, ddof=1)
    reach = float(t.ppf((1 + CONFIDENCE) / 2, size - 1)) / sqrt(size)
    low, high = mean - reach * spread, mean + reach * spread
    if len(prior):
        return low, high
    skewness = _skewness(counted)
    below, above = (mean - spread * _untransformed(end, skewness, size) for end in (reach, -reach))
    return np.minimum(low, below), np.maximum(high, above)


def prompts_needed(values: Sequence[float], bound: float, prior: Sequence[float] = ()) -> int | None:
    """Return about how many prompts would keep the interval off a bound in ``POWER`` of all samples of that size.

    Provided that mean and spread are what was found here; where they are not, so many settle it more or less often.

    Args:
        values: One number a prompt.
        bound: What the mean is held against.
        prior: See ``interval``.

    Returns:
        None where that is more than anybody will draw.
    """
    import numpy as np
    from scipy.stats import norm

    counted = np.array([*values, *prior], dtype=float)
    distance = abs(float(np.mean(values)) - bound)
    errors = float(norm.ppf((1 + CONFIDENCE) / 2) + norm.ppf(POWER))
    if len(counted) < 2 or not distance:
        return LEAST if len(values) < LEAST else None
    needed = ceil((errors * float(counted.std(ddof=1)) / distance) ** 2)
    return max(needed, LEAST, len(values) + 1) if needed <= FARTHEST else None


def share_outside(prompts: int) -> float:
    """Return the share of all prompts that may be outside a bound, with ``CONFIDENCE``, though none of these is.

    Exact whatever the values look like: beyond this share a sample would hold one that is (the rule of three).
    """
    return float(1 - (1 - CONFIDENCE) ** (1 / prompts))


def _skewness(values: NDArray[Any]) -> NDArray[Any]:
    """Return the third moment of each sample in standard deviations; 0 where what differs is rounding."""
    import numpy as np

    spread, centred = values.std(axis=-1), values - values.mean(axis=-1, keepdims=True)
    real = spread > TINY * np.abs(values).max(axis=-1)
    found: NDArray[Any] = np.where(real, (centred**3).mean(axis=-1), 0.0) / np.where(real, spread, 1.0) ** 3
    return found


def _untransformed(reach: float, skewness: NDArray[Any], size: int) -> NDArray[Any]:
    """Return what Hall's cubic turns into a number of standard deviations: itself where nothing is skewed."""
    import numpy as np

    third = np.where(np.abs(skewness) > TINY, skewness / 3, TINY)
    return (np.cbrt(1 + 3 * third * (reach - skewness / (6 * size))) - 1) / third

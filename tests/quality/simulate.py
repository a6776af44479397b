"""Worlds whose truth is known: how often is what the judge says of them right.

``python -m tests.quality.simulate`` prints a row for each, and ends with 1 where one misses what is promised;
``--samples N`` says how many times each is drawn.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from PIL import Image

from pipeline.tasks import TASKS
from pipeline.tasks.metrics import Measured, Pair, Reading
from pipeline.validate.findings import Sample, judgement
from pipeline.validate.intervals import LEAST, ends, interval, prompts_needed, share_outside
from pipeline.validate.limits import Limit, limits_of

METRICS = TASKS["text-to-image"].metrics

PROMPTS = (2, 3, 4, 6, 8, 12, 24, 48)
COVERED = 0.93  # of intervals, at least
YES_AND_NO = (0.0, 0.0, 1.0, 1.0)
SAMPLES = 20_000
MANY = 5000  # prompts that are drawn at most

Draw = Callable[[np.random.Generator, Any], Any]


@dataclass(frozen=True)
class World:
    """Where prompts come from.

    Attributes:
        draw: Draws values of a shape.
        mean: What an interval should hold.
        prior: See ``interval``.
    """

    draw: Draw
    mean: float
    prior: tuple[float, ...] = ()


@dataclass(frozen=True)
class Row:
    """What was simulated, how often it happened, and between which shares that must lie."""

    words: str
    share: float
    least: float = 0.0
    most: float = 1.0

    def __str__(self) -> str:
        """Return the row as it is printed."""
        promise = f">= {self.least:.3f}" if self.least else f"<= {self.most:.3f}" if self.most < 1 else ""
        return f"{self.words:<101} {self.share:7.3f}  {promise:<9}{'' if self.holds else ' MISSED'}".rstrip()

    @property
    def holds(self) -> bool:
        return self.least <= self.share <= self.most


Rows = Callable[[int], Iterator[Row]]


WORLDS = {
    "normal": World(lambda dice, n: dice.normal(3, 2, n), 3.0),
    "skewed": World(lambda dice, n: dice.gamma(2, 1, n), 2.0),
    "skewed to the left": World(lambda dice, n: -dice.gamma(2, 1, n), -2.0),
    "exponential": World(lambda dice, n: dice.exponential(1, n), 1.0),
    "exponential to the left": World(lambda dice, n: -dice.exponential(1, n), -1.0),
    "heavy tails": World(lambda dice, n: dice.standard_t(3, n), 0.0),
    "half say yes": World(lambda dice, n: (dice.random(n) < 0.5).astype(float), 0.5, YES_AND_NO),
    "most say yes": World(lambda dice, n: (dice.random(n) < 0.95).astype(float), 0.95, YES_AND_NO),
}


def coverage(world: World, prompts: int, samples: int) -> float:
    """Return how often the mean of a world lies within the interval of a sample."""
    drawn = world.draw(np.random.default_rng(prompts), (samples, prompts))
    return holding(world.mean, ends(drawn, world.prior))


def holding(mean: float, found: tuple[Any, Any]) -> float:
    """Return how many of some intervals hold a mean."""
    return float(((found[0] <= mean) & (mean <= found[1])).mean())


def coverages(samples: int) -> Iterator[Row]:
    """Give the coverage of each world by number of prompts; where no verdict is given there is nothing to hold."""
    for name, world in WORLDS.items():
        for count in PROMPTS:
            said = "the interval holds the mean" if count >= LEAST else "INCONCLUSIVE; the interval would hold it"
            least = COVERED if count >= LEAST else 0.0
            yield Row(f"{name}, {count} prompts: {said}", coverage(world, count, samples), least)


def ruined(dice: np.random.Generator, shape: tuple[int, int], share: float) -> Any:
    """Draw PSNRs of 40 dB, of which a share is ruined to 12 dB."""
    return np.where(dice.random(shape) < share, 12.0, dice.normal(40, 3, shape))


def rare(samples: int) -> Iterator[Row]:
    """Give what is said of checkpoints that ruin a prompt now and then, by both statements of a verdict.

    A sample with a ruined prompt fails by its worst picture. Of the others the interval holds the mean of prompts that
    are not ruined, and the share is told that may be: more could not be, for such a sample is like an honest one's.
    """
    for share in (0.02, 0.05, 0.1):
        for count in (count for count in PROMPTS if count >= LEAST):
            drawn = ruined(np.random.default_rng(count), (samples, count), share)
            kept = drawn[drawn.min(axis=1) > 20]
            what = f"{share:.0%} ruined, {count} prompts"
            yield Row(f"{what}: the worst picture is one, FAIL", 1 - len(kept) / samples)
            if len(kept) > samples / 10:
                yield Row(f"{what}: else the interval holds the mean of all others", holding(40, ends(kept)), COVERED)
            yield Row(f"{what}: the interval holds the mean of all", holding(40 - 28 * share, ends(drawn)))
            unseen = len(kept) / samples if share > share_outside(count) else 0.0
            yield Row(f"{what}: more are ruined than is said to be possible", unseen, most=0.05 + chance(samples))


def chance(samples: int) -> float:
    """Return how far a share of one in twenty lies off by chance, at three standard errors."""
    return 3 * (0.05 * 0.95 / samples) ** 0.5


def verdict(limits: Sequence[Limit], values: Sequence[float], floor: float | None = None) -> str:
    """Return what the judge makes of PSNRs, one a prompt."""
    picture = Image.new("RGB", (1, 1))
    pairs = [Pair(index, "", None, 0, picture, picture) for index in range(len(values))]
    readings = tuple(Reading(min(float(value), 60.0)) for value in values)
    sample = Sample(METRICS["psnr"], Measured(float(np.mean(values)), None, readings), pairs)
    found = {judgement("psnr", sample, limit, floor, "picture").verdict for limit in limits}
    return next(word for word in ("FAIL", "INCONCLUSIVE", "PASS") if word in found)


def passes(limits: Sequence[Limit], draw: Callable[[], Any], samples: int, floor: float | None = None) -> float:
    """Return how often the verdict is PASS."""
    return Counter(verdict(limits, draw(), floor) for _ in range(samples))["PASS"] / samples


def one_in_twelve(samples: int) -> Iterator[Row]:
    """Give how often a checkpoint passes that ruins one prompt in twelve to 10 dB."""
    limits = limits_of({"psnr": {"min": 25}}, METRICS)["psnr"]
    without = [limit for limit in limits if limit.of != "worst"]
    dice = np.random.default_rng(0)

    def exactly() -> Any:
        return np.concatenate([dice.normal(10, 1, 2), dice.normal(40, 3, 22)])

    def by_chance(prompts: int) -> Any:
        return np.where(dice.random(prompts) < 1 / 12, dice.normal(10, 1, prompts), dice.normal(40, 3, prompts))

    what = "to 10 dB passes `psnr: {min: 25}`"
    yield Row(f"2 of 24 prompts ruined {what} by its mean alone", passes(without, exactly, samples))
    yield Row(f"2 of 24 prompts ruined {what}", passes(limits, exactly, samples), most=0.05)
    for prompts in (24, 36, 48):
        unseen = (11 / 12) ** prompts
        words = f"each of {prompts} ruined with 1/12 {what}; {unseen:.3f} have none"
        most = 0.05 + chance(samples) if prompts >= 36 else 1.0
        yield Row(words, passes(limits, partial(by_chance, prompts), samples), most=most)
    honest = passes(limits, lambda: dice.normal(40, 3, 24), samples)
    yield Row("an honest one (40 +- 3 dB, 24 prompts) passes `psnr: {min: 25}`", honest, 0.95)


def noisy(samples: int) -> Iterator[Row]:
    """Give how often a checkpoint passes that is worse than its noisy source is to itself."""
    limits = limits_of({"psnr": {"min": 24, "worst": 0}}, METRICS)["psnr"]
    for mean in (20.5, 22.5, 23.9):
        dice = np.random.default_rng(0)

        def draw(mean: float = mean, dice: np.random.Generator = dice) -> Any:
            return dice.normal(mean, 6, 24)

        floor = float(dice.normal(25, 6, 3).mean())
        words = f"{mean} +- 6 dB passes `psnr: {{min: 24}}`, the source to itself has 25 +- 6 dB"
        yield Row(words, passes(limits, draw, samples, floor), most=0.025 + chance(samples))


def settled(samples: int) -> Iterator[Row]:
    """Give how often as many new prompts as are said to be needed settle what some left open."""
    for prompts in (12, 24):
        dice = np.random.default_rng(prompts)
        same, other = [], []
        while len(same) < samples:
            few = dice.normal(0.3, 1, prompts)
            found, needed = interval(list(few)), prompts_needed(list(few), 0.0)
            if found.low <= 0 <= found.high and needed and needed < MANY:
                same.append(1 - holding(0, ends(dice.normal(few.mean(), few.std(ddof=1), (1, needed)))))
                other.append(1 - holding(0, ends(dice.normal(0.3, 1, (1, needed)))))
        words = f"{prompts} prompts were open: as many new ones as are said to be needed settle it"
        yield Row(f"{words}, if mean and spread stay", float(np.mean(same)), 0.8 - 2 * chance(samples))
        yield Row(f"{words}, whatever was found", float(np.mean(other)))


TABLE: dict[str, tuple[Rows, int]] = {  # what takes longer has fewer samples
    "coverages": (coverages, 1),
    "rare": (rare, 1),
    "one_in_twelve": (one_in_twelve, 10),
    "noisy": (noisy, 10),
    "settled": (settled, 10),
}


def main() -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--samples", type=int, default=SAMPLES)
    parser.add_argument("--only", choices=TABLE, nargs="+", default=list(TABLE))
    asked = parser.parse_args()
    missed = 0
    for rows, less in (TABLE[name] for name in asked.only):
        for row in rows(asked.samples // less):
            sys.stdout.write(f"{row}\n")
            missed += not row.holds
    return 1 if missed else 0


if __name__ == "__main__":
    raise SystemExit(main())

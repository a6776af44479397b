"""What a recipe requires of the metrics, as limits that can be held against a number."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from numbers import Real
from pathlib import Path
from typing import Any, Literal

from pipeline.errors import RecipeError
from pipeline.tasks.metrics import Metric
from pipeline.validate.report import Statistic, change

LIMITS = "Its limits are min, max, worst and {change}: {{max, worst}}."


@dataclass(frozen=True)
class Limit:
    """One bound on a metric's value, on its drop from the source's to the candidate's, or on its worst answer."""

    of: Statistic
    kind: Literal["min", "max"]
    bound: float

    def words(self, unit: str, noun: str, change: str = "drop") -> str:
        """Return it in words, such as ``at least 18 dB`` or ``a drop of at most 0.5 points in every picture``."""
        drop = f"a {change} of " if self.of in {"drop", "worst drop"} else ""
        each = f" in every {noun}" if self.of in {"worst", "worst drop"} else ""
        return f"{drop}{'at least' if self.kind == 'min' else 'at most'} {amount(self.bound, unit)}{each}"


def amount(number: float, unit: str) -> str:
    """Return a number and its unit for people, rounded to four digits."""
    return f"{number:.4g} {unit}".rstrip()


def limits_of(requirements: Mapping[str, Any], metrics: Mapping[str, Metric]) -> dict[str, tuple[Limit, ...]]:
    """Return the limits by metric; where a mean is bounded and nothing else said, so is its worst answer.

    Args:
        requirements: A recipe's ``require``: metric name to ``min``, ``max``, ``worst``, ``drop: {max, worst}`` (it is
            ``rise`` where less is better) and the judging ``model`` with its ``revision``.
        metrics: Those of the task.

    Raises:
        RecipeError: A metric or a key is unknown, or a bound is no number.
    """
    if unknown := sorted(requirements.keys() - metrics.keys()):
        raise _wrong(f"{', '.join(unknown)} is no metric", f"The metrics are {', '.join(metrics)}.")
    return {name: _limits(name, metrics[name], dict(require)) for name, require in requirements.items()}


def judges_of(requirements: Mapping[str, Any]) -> dict[str, Path]:
    """Return the folders of the models that judge, by metric."""
    return {name: Path(require["model"]) for name, require in requirements.items() if "model" in require}


def _limits(name: str, metric: Metric, require: dict[str, Any]) -> tuple[Limit, ...]:
    for word in ("model", "revision"):  # who judges, which bounds nothing
        require.pop(word, None)
    drop = dict(require.pop(change(metric.direction), {}))
    found = [_limit(name, metric, "value", kind, bound) for kind, bound in require.items()]
    found += [_limit(name, metric, "drop", kind, bound) for kind, bound in drop.items()]
    if (tail := metric.tail) and not any(limit.of.startswith("worst") for limit in found):
        found += [Limit("worst", limit.kind, tail(limit.bound)) for limit in found if limit.of == "value"]
    return tuple(found)


def _limit(name: str, metric: Metric, of: Literal["value", "drop"], kind: str, bound: Any) -> Limit:
    if kind not in {"min", "max", "worst"}:
        raise _wrong(f"{name} knows no {kind!r}", LIMITS.format(change=change(metric.direction)))
    if not isinstance(bound, Real) or isinstance(bound, bool):
        raise _wrong(f"{name}'s {kind} is {bound!r}, no number", "Give a number.")
    if kind == "worst" and of == "drop":
        return Limit("worst drop", "max", float(bound))
    if kind == "worst":
        return Limit("worst", "min" if metric.direction == "higher" else "max", float(bound))
    return Limit(of, "min" if kind == "min" else "max", float(bound))


def _wrong(what: str, remedy: str) -> RecipeError:
    return RecipeError(f"{what}.", where="validation.require", remedy=remedy)

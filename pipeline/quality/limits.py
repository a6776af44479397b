"""What a recipe requires of the metrics, as limits that can be held against a number."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from numbers import Real
from pathlib import Path
from typing import Any, Literal

from pipeline.errors import RecipeError
from pipeline.quality.metrics import METRICS
from pipeline.quality.report import Of


@dataclass(frozen=True)
class Limit:
    """One bound: on a metric's value, on its drop from the source's to the candidate's, or on the ratio of the two."""

    of: Of
    kind: Literal["min", "max"]
    bound: float

    def words(self, unit: str) -> str:
        """Return it in words, such as ``at least 18 dB`` or ``a drop of at most 0.5 points``."""
        most = "at least" if self.kind == "min" else "at most"
        if self.of == "ratio":
            return f"{most} {amount(self.bound, '')} times the source's"
        return f"{'a drop of ' if self.of == 'drop' else ''}{most} {amount(self.bound, unit)}"


def amount(number: float, unit: str) -> str:
    """Return a number and its unit for people, rounded to four digits."""
    return f"{number:.4g} {unit}".rstrip()


def limits_of(requirements: Mapping[str, Any]) -> dict[str, tuple[Limit, ...]]:
    """Return the limits by metric.

    Args:
        requirements: A recipe's ``require``: metric name to ``min``, ``max``, ``drop: {max}``, ``ratio: {max}``,
            and the judging ``model``.

    Raises:
        RecipeError: A metric or a key is unknown, or a bound is no number.
    """
    if unknown := sorted(requirements.keys() - METRICS.keys()):
        raise _wrong(f"{', '.join(unknown)} is no metric", f"The metrics are {', '.join(METRICS)}.")
    return {name: _limits(name, dict(require)) for name, require in requirements.items()}


def judges_of(requirements: Mapping[str, Any]) -> dict[str, Path]:
    """Return the folders of the models that judge, by metric."""
    return {name: Path(require["model"]) for name, require in requirements.items() if "model" in require}


def _limits(metric: str, require: dict[str, Any]) -> tuple[Limit, ...]:
    require.pop("model", None)
    parts: dict[Of, dict[str, Any]] = {"drop": dict(require.pop("drop", {})), "ratio": dict(require.pop("ratio", {}))}
    parts = {"value": require, **parts}
    return tuple(_limit(metric, of, kind, bound) for of, bounds in parts.items() for kind, bound in bounds.items())


def _limit(metric: str, of: Of, kind: str, bound: Any) -> Limit:
    if kind not in {"min", "max"}:
        raise _wrong(f"{metric} knows no {kind!r}", "Its limits are min, max, drop: {max} and ratio: {max}.")
    if not isinstance(bound, Real) or isinstance(bound, bool):
        raise _wrong(f"{metric}'s {kind} is {bound!r}, no number", "Give a number.")
    return Limit(of, "min" if kind == "min" else "max", float(bound))


def _wrong(what: str, remedy: str) -> RecipeError:
    return RecipeError(f"{what}.", where="validation.require", remedy=remedy)

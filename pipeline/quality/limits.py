"""What a recipe requires of the metrics, as limits that can be held against a number."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from numbers import Real
from pathlib import Path
from typing import Any, Literal

from pipeline.errors import RecipeError
from pipeline.quality.metrics import METRICS


@dataclass(frozen=True)
class Limit:
    """One bound: on a metric's value, or on its drop from the source's to the candidate's."""

    of: Literal["value", "drop"]
    kind: Literal["min", "max"]
    bound: float

    def holds(self, number: float) -> bool:
        """Tell whether a number keeps to it; the bound itself does."""
        return number >= self.bound if self.kind == "min" else number <= self.bound

    def words(self, unit: str) -> str:
        """Return it in words, such as ``at least 18 dB`` or ``a drop of at most 0.5 points``."""
        drop = "a drop of " if self.of == "drop" else ""
        return f"{drop}{'at least' if self.kind == 'min' else 'at most'} {amount(self.bound, unit)}"


def amount(number: float, unit: str) -> str:
    """Return a number and its unit for people, rounded to four digits."""
    return f"{number:.4g} {unit}".rstrip()


def limits_of(requirements: Mapping[str, Any]) -> dict[str, tuple[Limit, ...]]:
    """Return the limits by metric.

    Args:
        requirements: A recipe's ``require``: metric name to ``min``, ``max``, ``drop: {max}``, and ``model``.

    Raises:
        RecipeError: A metric or a key is unknown, or a bound is no number.
    """
    if unknown := sorted(requirements.keys() - METRICS.keys()):
        raise _wrong(f"{', '.join(unknown)} is no metric", f"The metrics are {', '.join(METRICS)}.")
    return {name: _limits(name, dict(require)) for name, require in requirements.items()}


def clip_model_of(requirements: Mapping[str, Any]) -> Path | None:
    """Return the folder of the CLIP model that the recipe names, if it names one."""
    model = requirements.get("clip_score", {}).get("model")
    return Path(model) if model else None


def _limits(metric: str, require: dict[str, Any]) -> tuple[Limit, ...]:
    require.pop("model", None)
    drop = require.pop("drop", {})
    found = [_limit(metric, "value", kind, bound) for kind, bound in require.items()]
    return tuple(found + [_limit(metric, "drop", kind, bound) for kind, bound in dict(drop).items()])


def _limit(metric: str, of: Literal["value", "drop"], kind: str, bound: Any) -> Limit:
    if kind not in {"min", "max"}:
        raise _wrong(f"{metric} knows no {kind!r}", "Its limits are min, max and drop: {max}.")
    if not isinstance(bound, Real) or isinstance(bound, bool):
        raise _wrong(f"{metric}'s {kind} is {bound!r}, no number", "Give a number.")
    return Limit(of, "min" if kind == "min" else "max", float(bound))


def _wrong(what: str, remedy: str) -> RecipeError:
    return RecipeError(f"{what}.", where="validation.require", remedy=remedy)

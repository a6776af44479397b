"""How a model of any class is made small: by rules that know a size by its name, less the one that does not fit."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

Rules = tuple[tuple[str, int], ...]
"""Pattern and largest value; the first pattern that is found in a name decides, smaller values stay."""

LIMIT = 45_000_000  # parameters; a tiny model beyond it has a size that no rule knows


def small(name: str, value: Any, rules: Rules, exempt: frozenset[str]) -> Any:
    """Return a small value for a named size; anything but integers and lists of them stays."""
    if isinstance(value, bool) or name in exempt:
        return value
    if isinstance(value, (list, tuple)) and value and all(isinstance(part, int) for part in value):
        return type(value)(small(name, part, rules, exempt) for part in value)
    if isinstance(value, int):
        return min(value, next((limit for pattern, limit in rules if re.search(pattern, name)), value))
    return value


def attempts(rules: Rules, sizes: Callable[[Rules], Any], build: Callable[[Any], Any]) -> Any:
    """Build a model with all rules, or with the first single one left out that lets it be built.

    Raises:
        Exception: What the constructor says when all rules are used.
    """
    import torch

    first: Exception | None = None
    for left_out in (None, *range(len(rules))):
        chosen = tuple(rule for number, rule in enumerate(rules) if number != left_out)
        try:
            made = sizes(chosen)
            with torch.device("meta"):
                count = sum(parameter.numel() for parameter in build(made).parameters())
            if count <= LIMIT:
                return build(sizes(chosen))
            first = first or ValueError(f"It has {count} parameters.")
        except Exception as error:
            first = first or error
            if isinstance(error, ImportError):
                break
    raise first or ValueError("It has no rules.")

"""A way in which files of a family call their tensors: rules that make a file's name of diffusers'."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from math import prod
from typing import Any

Shape = tuple[int, ...]
Rules = Mapping[str, "str | tuple[str, Rules]"]
"""Regular expressions, and what stands in the file for what they find in a name of diffusers; with rules of its own for
the rest of the name, where those are others."""


@dataclass(frozen=True)
class Spelling:
    """One way in which files of a family call their tensors.

    Attributes:
        rules: The file's words for diffusers', or how the component's config makes them.
        shapes: For names of the file that these expressions are found in, the shape of a tensor that has other axes
            there than the rows that make it up.
        prefix: What every name begins with.
    """

    rules: Rules | Callable[[Mapping[str, Any]], Rules] = field(default_factory=dict)
    shapes: Mapping[str, Callable[[Shape], Shape]] = field(default_factory=dict)
    prefix: str = ""

    def groups(self, tensors: Iterable[str], config: Mapping[str, Any]) -> dict[str, list[str]]:
        """Return the file's tensors by name, each with diffusers' tensors that are called so in it.

        Args:
            tensors: Those of diffusers.
            config: The component's ``config.json``.
        """
        rules = self.rules(config) if callable(self.rules) else self.rules
        found: dict[str, list[str]] = {}
        for tensor in tensors:
            found.setdefault(self.prefix + spelled(tensor, rules), []).append(tensor)
        return found

    def shape_of(self, name: str, shape: Shape) -> Shape:
        """Return the shape that a tensor of the file has, given that of the rows that make it up."""
        return next((change(shape) for found, change in self.shapes.items() if re.search(found, name)), shape)


def spelled(name: str, rules: Rules) -> str:
    """Return a name after rules: each finds the first place that it can, and what it wrote is not read again."""
    done, at = "", 0
    while True:
        found = [hit for old in rules if (hit := re.compile(old).search(name, at))]
        if not found:
            return done + name[at:]
        first = min(found, key=lambda hit: hit.start())
        new = rules[first.re.pattern]
        if isinstance(new, tuple):
            return done + name[at : first.start()] + first.expand(new[0]) + spelled(name[first.end() :], new[1])
        done, at = done + name[at : first.start()] + first.expand(new), first.end()


def pointwise(shape: Shape) -> Shape:
    """Return the shape of a convolution of one pixel that stands for a matrix."""
    return (*shape, 1, 1)


def flat(shape: Shape) -> Shape:
    """Return the shape of everything in one row."""
    return (prod(shape),)


def per_channel(shape: Shape) -> Shape:
    """Return the shape of a bias that is added to pictures as it is."""
    return (1, *shape, 1, 1)

"""Defaults: what every target's component of a name begins with, so that targets say only what they do otherwise.

A target's own words count, key by key. ``keep`` and ``dtype`` go with any scheme; ``scheme`` goes with its backend, so
a target that names another one names its scheme too; options go with the scheme beside which they stand. A budget,
which finds backend and scheme, takes ``keep`` and ``dtype`` of the components that it may quantize.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from pipeline.recipe.budget import CARDS, KEY, OPEN
from pipeline.recipe.nodes import Node, Page, artifacts, describe, every, text_at
from pipeline.recipe.problems import listed, nearest
from pipeline.recipe.schema import Words

DEFAULTS: Final = "defaults"
ANY_SCHEME: Final = ("keep", "dtype")  # the words that go with any scheme, and so with those that a budget finds


def defaults_in(page: Page, root: Node) -> dict[str, Node]:
    """Take the defaults out of a recipe's tree, by component; what is none is reported."""
    written = root.value.pop(DEFAULTS, None) if isinstance(root.value, dict) else None
    if written is None:
        return {}
    if not isinstance(written.value, dict):
        page.report(written.place, f"expected a mapping of components, found {describe(written)}")
        return {}
    for name, default in written.value.items():
        if not isinstance(default.value, dict):
            said = f"expected a mapping of what each target's {name!r} begins with, found {describe(default)}"
            page.report(default.place, said)
    return {name: default for name, default in written.value.items() if isinstance(default.value, dict)}


def leave_to_others(page: Page, root: Node) -> None:
    """Take out of a recipe's tree what included files begin components with that none of its targets has.

    Such a file serves other recipes as well; where the recipe itself says it, it is a mistake.
    """
    for written in every(root, DEFAULTS):
        if isinstance(written.value, dict):
            for name, default in [*written.value.items()]:
                if default.at.file in page.included and not any(_takers(root, name)):
                    del written.value[name]


def begin_with(page: Page, root: Node, defaults: dict[str, Node]) -> None:
    """Have the components of a recipe's targets begin with what the defaults say of them."""
    targets, budgets = _kinds_of_targets(root)
    named = sorted(
        {part.name for target in targets for part in every(target, "*")}
        | {node.text for budget in budgets for node in every(budget, "components", "#")}
    )
    for name, default in defaults.items():
        parts, choosing = _takers(root, name)
        for part in parts:
            _begin(part, default)
        for budget in choosing:
            _begin_budget(budget, name, default)
        if not parts and not choosing:
            meant = nearest(name, named)
            rest = "" if meant else f"; they quantize {listed(named, 'and')}"
            page.report(default.at, f"no target quantizes {name!r}{rest}", meant)


def _kinds_of_targets(root: Node) -> tuple[list[Node], list[Node]]:
    """Return the targets that name their components, and the budgets and ladders of the others."""
    targets = every(root, "targets", "*")
    open_ones = [*every(root, "targets", "*", KEY), *(target for target in targets if every(target, CARDS))]
    return [target for target in targets if not any(every(target, key) for key in OPEN)], open_ones


def _takers(root: Node, name: str) -> tuple[list[Node], list[Node]]:
    """Return what begins with the defaults of a component: those of targets, and the budgets that may quantize it."""
    targets, budgets = _kinds_of_targets(root)
    parts = [each for target in targets for part in every(target, name) for each in artifacts(part)]
    return parts, [budget for budget in budgets if _chooses(budget, name)]


def _begin(part: Node, default: Node) -> None:
    """Give a component the words of a default that it does not have itself."""
    if not isinstance(part.value, dict) or not isinstance(default.value, dict):
        return
    own = part.value
    if text_at(part, "backend") in ("", text_at(default, "backend")):
        own |= {word: node for word, node in default.value.items() if word in ("backend", "scheme") and word not in own}
    alike = all(text_at(part, word) == text_at(default, word) for word in ("backend", "scheme"))
    own |= {
        word: node
        for word, node in default.value.items()
        if word not in own and (word in ANY_SCHEME or (alike and word not in Words.model_fields))
    }


def _chooses(budget: Node, name: str) -> bool:
    """Tell whether a budget, or a ladder of them, may quantize a component, as far as the recipe says."""
    components = every(budget, "components", "#")
    return not components or any(node.text == name for node in components)


def _begin_budget(budget: Node, name: str, default: Node) -> None:
    """Give a budget, or a ladder of them, what a default says of a component whatever its scheme."""
    for word in ANY_SCHEME:
        for node in every(default, word):
            if isinstance(budget.value, dict):
                said = budget.value.setdefault(word, Node(node.at, {}, name=word, at=node.at))
                if isinstance(said.value, dict):
                    said.value.setdefault(name, replace(node, name=name, at=default.at))

"""Rows that no group of a scheme divides: why they stay whole, and what would take them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Final, get_args

from pipeline.backends import BACKENDS, Scheme
from pipeline.backends.oracle.conversion import ConversionPlan
from pipeline.errors import RecipeError
from pipeline.recipe import Quantization
from pipeline.recipe.problems import listed
from pipeline.source.layout import Component
from pipeline.source.safetensors import TensorInfo

DIVIDES: Final = "divides its rows of"  # in the reasons of backends
GROUP_SIZE: Final = "group_size"  # the option of schemes whose groups may be of several sizes
OTHER_BACKEND: Final = "choose another backend for this component"


def group_sizes(scheme: Scheme) -> tuple[int, ...]:
    """Return the sizes that the groups of a scheme may have, the largest first; none where that is no option."""
    option = scheme.options.model_fields.get(GROUP_SIZE)
    return tuple(sorted(get_args(option.annotation), reverse=True)) if option else ()


def takes(scheme: Scheme, columns: int) -> bool:
    """Return whether a scheme takes rows of so many values, with one of its options or other."""
    return any(columns % size == 0 for size in group_sizes(scheme) or (scheme.multiple,))


def undivided(answer: ConversionPlan, tensors: Mapping[str, TensorInfo]) -> dict[str, int]:
    """Return the modules whose rows no group divides, each with the values of a row."""
    names = {conversion.parameter: name for name, conversion in answer.conversions.items()}
    found = {module: names.get(f"{module}.weight") for module, reason in answer.kept.items() if DIVIDES in reason}
    return {
        module: answer.conversions[name].shape_of(tensors[name].shape)[-1] for module, name in found.items() if name
    }


def fitting(quantization: Quantization, columns: int) -> int:
    """Return the largest ``group_size`` that divides rows; 0 where none does."""
    scheme = BACKENDS[quantization.backend].SCHEMES[quantization.scheme]
    return next((size for size in group_sizes(scheme) if columns % size == 0), 0)


def reasons(quantization: Quantization, answer: ConversionPlan, tensors: Mapping[str, TensorInfo]) -> dict[str, str]:
    """Return why modules stay as they are, each with the ``group_size`` that would take it, if one would."""
    sizes = {name: fitting(quantization, columns) for name, columns in undivided(answer, tensors).items()}
    return {
        name: f"{reason}; `{GROUP_SIZE}: {sizes[name]}` takes them" if sizes.get(name) else reason
        for name, reason in answer.kept.items()
    }


def none_taken(
    component: Component, quantization: Quantization, answer: ConversionPlan, tensors: Mapping[str, TensorInfo]
) -> RecipeError:
    """Return the error for a component of which a scheme takes no weight: why, and what is possible instead."""
    why = "it has no Linear modules"
    if counts := Counter(answer.kept.values()).most_common():
        why = f"of its Linear modules {', '.join(f'{count} stay ({reason})' for reason, count in counts)}"
    ways = instead(component, quantization, answer, tensors)
    return RecipeError(
        f"{quantization.words} takes no weight of {component.class_name}: {why}.",
        where=component.name,
        remedy=f"{', or '.join(ways)}." if ways else "Name another source.",
    )


def instead(
    component: Component, quantization: Quantization, answer: ConversionPlan, tensors: Mapping[str, TensorInfo]
) -> list[str]:
    """Return what can be done with a component of which a scheme takes no weight, as parts of one sentence."""
    rows, schemes = undivided(answer, tensors), BACKENDS[quantization.backend].SCHEMES
    sizes = {size for columns in rows.values() if (size := fitting(quantization, columns))}
    others = [
        word
        for word, scheme in schemes.items()
        if word != quantization.scheme
        and component.library not in scheme.refuses
        and all(takes(scheme, columns) for columns in rows.values())
    ]
    ways = []
    if sizes:
        ways.append(f"write `{GROUP_SIZE}: {max(sizes)}`")
    elif rows:
        ways.append(f"choose {listed(others, 'or')}, whose rows may be so wide" if others else OTHER_BACKEND)
    elif {*answer.kept.values()} - {"keep"}:
        ways.append(OTHER_BACKEND)
    if quantization.keep:
        ways.append("keep less")
    if not component.root:
        ways.append("leave this component out")
    return [way if index else f"{way[0].upper()}{way[1:]}" for index, way in enumerate(ways)]

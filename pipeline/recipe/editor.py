"""The recipe as JSON Schema, for completion and squiggles in editors; what `load` says remains what counts."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

from pydantic.json_schema import models_json_schema

from pipeline.recipe.load import SHARED
from pipeline.recipe.schema import Quantization, Recipe, Validation

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pydantic import BaseModel

    from pipeline.recipe.vocabulary import Vocabulary

DIALECT = "https://json-schema.org/draft/2020-12/schema"
_REFERENCE = "#/$defs/"


def json_schema(vocabulary: Vocabulary) -> dict[str, Any]:
    """Return the JSON Schema (draft 2020-12) of a recipe as YAML has it: a scheme's options flat beside its name."""
    models: list[type[BaseModel]] = [Recipe, Quantization]
    models += [rules.options for schemes in vocabulary.schemes.values() for rules in schemes.values()]
    models += [task.validation for task in vocabulary.tasks.values()]
    references, whole = models_json_schema([(model, "validation") for model in dict.fromkeys(models)])
    names = {model: _name(references[model, "validation"]) for model in models}
    definitions: dict[str, Any] = whole["$defs"]
    choices = [
        _choice(definitions[names[Quantization]], backend, scheme, definitions[names[rules.options]])
        for backend, schemes in vocabulary.schemes.items()
        for scheme, rules in schemes.items()
    ]
    definitions[names[Quantization]] = {"description": inspect.getdoc(Quantization), "oneOf": choices}
    definitions["Card"]["properties"]["template"]["enum"] = sorted(vocabulary.templates)
    recipe = definitions.pop(names[Recipe])
    recipe["properties"]["task"]["enum"] = sorted(vocabulary.tasks)
    clauses = {word: references[task.validation, "validation"] for word, task in vocabulary.tasks.items()}
    definitions["Validation"] = {"description": inspect.getdoc(Validation), "anyOf": list(clauses.values())}
    recipe["allOf"] = [_where(word, clause) for word, clause in clauses.items()]
    recipe["properties"][SHARED] = {
        "description": "Blocks with YAML anchors, for targets to share; anything may stand here."
    }
    used = {name: _tidy(definitions[name]) for name in sorted(_reachable(recipe, definitions))}
    return {"$schema": DIALECT, **_tidy(recipe), "title": "A quantpress recipe", "$defs": used}


def _where(task: str, clause: Any) -> dict[str, Any]:
    """Return which form the validation of a task's recipes has."""
    return {"if": {"properties": {"task": {"const": task}}}, "then": {"properties": {"validation": clause}}}


def _choice(core: dict[str, Any], backend: str, scheme: str, options: dict[str, Any]) -> dict[str, Any]:
    """Return one scheme's form of a quantization."""
    shared = {name: rule for name, rule in core["properties"].items() if name != "options"}
    words = {
        "backend": {**shared.pop("backend"), "const": backend},
        "scheme": {**shared.pop("scheme"), "const": scheme},
    }
    return {
        "title": f"{backend} {scheme}",
        "type": "object",
        "properties": words | shared | options.get("properties", {}),
        "required": ["backend", "scheme", *options.get("required", [])],
        "additionalProperties": False,
    }


def _reachable(rule: Any, definitions: dict[str, Any]) -> set[str]:
    """Return the definitions that a rule leads to."""
    found: set[str] = set()
    waiting = list(_references(rule))
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            waiting.extend(_references(definitions[name]))
    return found


def _references(rule: Any) -> Iterator[str]:
    if isinstance(rule, dict):
        if "$ref" in rule:
            yield _name(rule)
        rule = list(rule.values())
    for part in rule if isinstance(rule, list) else ():
        yield from _references(part)


def _tidy(rule: Any) -> Any:
    """Return a rule without pydantic's generated titles, and without null where a key is simply left out."""
    if isinstance(rule, list):
        return [_tidy(part) for part in rule]
    if not isinstance(rule, dict):
        return rule
    tidied = {key: _tidy(part) for key, part in rule.items() if not (key == "title" and _is_generated(part))}
    if "patternProperties" in tidied:
        tidied["additionalProperties"] = False
    if tidied.get("default", ...) is None and "anyOf" in tidied:
        del tidied["default"]
        arms = [arm for arm in tidied.pop("anyOf") if arm != {"type": "null"}]
        tidied |= arms[0] if len(arms) == 1 else {"anyOf": arms}
    return tidied


def _is_generated(title: Any) -> bool:
    """Tell a title that pydantic made of a field's name from ``backend scheme``, which is in lower case."""
    return isinstance(title, str) and title != title.lower()


def _name(reference: Any) -> str:
    return str(reference["$ref"]).removeprefix(_REFERENCE)

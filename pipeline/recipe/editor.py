"""The recipe as JSON Schema, for completion and squiggles in editors; what `load` says remains what counts."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

from pydantic.json_schema import models_json_schema

from pipeline.recipe import names
from pipeline.recipe.budget import OPEN
from pipeline.recipe.defaults import DEFAULTS
from pipeline.recipe.include import INCLUDE, MOST, SHARED
from pipeline.recipe.quantization import form
from pipeline.recipe.schema import Quantization, Recipe, Validation

if TYPE_CHECKING:
    from pydantic import BaseModel

    from pipeline.recipe.vocabulary import Vocabulary

DIALECT = "https://json-schema.org/draft/2020-12/schema"
_FILE = {"type": "string", "pattern": r"\.ya?ml$"}
_COMPONENTS = {"patternProperties": {f"^{names.COMPONENT}$": {"$ref": "#/$defs/Quantization"}}, "type": "object"}
_NAMED = {"required": ["backend", "scheme"]}
_SELF_CONTAINED = {  # a target where nothing else says a part of it
    "anyOf": [*({"required": [key]} for key in OPEN), {"additionalProperties": {**_NAMED, "items": _NAMED}}]
}
APART = {  # what stands in a recipe's text and no more in the recipe that was read
    SHARED: {"description": "Blocks with YAML anchors, for targets to share; anything may stand here."},
    DEFAULTS: {
        "description": "What each target's component of a name begins with. The target's own words count, key by key; "
        "a scheme goes with its backend, and options go with the scheme beside which they stand.",
        **_COMPONENTS,
    },
    INCLUDE: {
        "description": "A YAML file, or a list of them, with any of the recipe's own keys, relative to the recipe. "
        "What the recipe says itself counts; mappings are merged key by key, all else is taken as a whole.",
        "anyOf": [_FILE, {"type": "array", "items": _FILE, "minItems": 1, "maxItems": MOST}],
    },
}


def json_schema(vocabulary: Vocabulary) -> dict[str, Any]:
    """Return the JSON Schema (draft 2020-12) of a recipe as YAML has it: a scheme's options flat beside its name."""
    clauses = {word: task.validation for word, task in vocabulary.tasks.items()}
    models: list[type[BaseModel]] = [Recipe, *clauses.values()]
    references, whole = models_json_schema([(model, "validation") for model in dict.fromkeys(models)])
    clause_of = {word: references[model, "validation"] for word, model in clauses.items()}
    definitions: dict[str, Any] = whole["$defs"]
    recipe = definitions.pop("Recipe")
    forms = [
        _form(vocabulary, backend, scheme) for backend, schemes in vocabulary.schemes.items() for scheme in schemes
    ]
    definitions["Quantization"] = {"description": inspect.getdoc(Quantization), "anyOf": forms}
    definitions["Validation"] = {"description": inspect.getdoc(Validation), "anyOf": list(clause_of.values())}
    definitions["Card"]["properties"]["template"]["enum"] = sorted(vocabulary.templates)
    recipe["properties"]["task"]["enum"] = sorted(vocabulary.tasks)
    recipe["allOf"] = [
        *(_where(word, clause) for word, clause in clause_of.items()),
        _without([INCLUDE], {"required": recipe.pop("required")}),
        _without([INCLUDE, DEFAULTS], {"properties": {"targets": {"additionalProperties": _SELF_CONTAINED}}}),
    ]
    recipe["properties"] |= APART
    del definitions["JsonValue"], definitions["Requirements"]  # what the forms and the tasks say instead
    return {"$schema": DIALECT, **_tidy(recipe), "title": "A quantpress recipe", "$defs": _tidy(definitions)}


def _without(words: list[str], rule: dict[str, Any]) -> dict[str, Any]:
    """Return a rule of recipes that have none of these words."""
    return {"if": {"not": {"anyOf": [{"required": [word]} for word in words]}}, "then": rule}


def _where(task: str, clause: Any) -> dict[str, Any]:
    """Return which form the validation of a task's recipes has."""
    return {"if": {"properties": {"task": {"const": task}}}, "then": {"properties": {"validation": clause}}}


def _form(vocabulary: Vocabulary, backend: str, scheme: str) -> dict[str, Any]:
    """Return one scheme's form of a quantization, of which the rest may be the defaults'."""
    whole = form(vocabulary, backend, scheme).model_json_schema()
    whole["properties"]["backend"]["const"] = backend
    whole["properties"]["scheme"]["const"] = scheme
    return {name: rule for name, rule in whole.items() if name not in ("description", "required")}


def _tidy(rule: Any) -> Any:
    """Return a rule without pydantic's generated titles, and without null where a key is simply left out."""
    if isinstance(rule, list):
        return [_tidy(part) for part in rule]
    if not isinstance(rule, dict):
        return rule
    own = {key: part for key, part in rule.items() if key != "title" or not isinstance(part, str) or part.islower()}
    tidied = {key: _tidy(part) for key, part in own.items()}
    if "patternProperties" in tidied:
        tidied["additionalProperties"] = False
    if tidied.get("default", ...) is None and "anyOf" in tidied:
        del tidied["default"]
        arms = [arm for arm in tidied.pop("anyOf") if arm != {"type": "null"}]
        tidied |= arms[0] if len(arms) == 1 else {"anyOf": arms}
    return tidied

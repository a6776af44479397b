"""`recipes/recipe.schema.json` is what the program says today; `REWRITE_GOLDENS=1` writes it anew."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

from pipeline.backends import SCHEMES
from pipeline.card.render import templates
from pipeline.files import pretty_json
from pipeline.recipe import Vocabulary, json_schema
from pipeline.tasks import TASKS

FILE = Path(__file__).parents[2] / "recipes" / "recipe.schema.json"
REAL = Vocabulary(schemes=SCHEMES, templates=frozenset(templates()), tasks=TASKS)


def forms(schema: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {form["title"]: form for form in schema["$defs"]["Quantization"]["anyOf"]}


def test_the_schema_file_is_current() -> None:
    content = pretty_json(json_schema(REAL))
    if os.environ.get("REWRITE_GOLDENS"):
        FILE.parent.mkdir(exist_ok=True)
        FILE.write_bytes(content)
    assert json.loads(FILE.read_bytes()) == json.loads(content)
    assert FILE.read_bytes() == content


def test_every_scheme_has_its_form_with_its_options_and_no_other_key() -> None:
    found = forms(json_schema(REAL))
    assert list(found) == [f"{backend} {scheme}" for backend, schemes in SCHEMES.items() for scheme in schemes]
    core = {"backend", "scheme", "keep", "dtype"}
    for backend, schemes in SCHEMES.items():
        for scheme, rules in schemes.items():
            form = found[f"{backend} {scheme}"]
            assert set(form["properties"]) == core | set(rules.options.model_fields)
            assert form["properties"]["scheme"]["const"] == scheme
            assert form["additionalProperties"] is False


def test_what_a_recipe_leaves_to_others_is_asked_of_those_that_leave_nothing() -> None:
    schema = json_schema(REAL)
    assert "required" not in schema
    rules = [rule for rule in schema["allOf"] if "not" in rule["if"]]
    asked = {tuple(one["required"][0] for one in rule["if"]["not"]["anyOf"]): rule["then"] for rule in rules}
    assert asked["include",]["required"] == ["source", "task", "destination", "targets", "validation", "card"]
    (of_targets,) = asked["include", "defaults"]["properties"].values()
    named = {"required": ["backend", "scheme"]}
    assert {"additionalProperties": {**named, "items": named}} in of_targets["additionalProperties"]["anyOf"]
    assert all("required" not in form for form in forms(schema).values())
    file, files = schema["properties"]["include"]["anyOf"]
    assert files["items"] == file
    assert [bool(re.search(file["pattern"], name)) for name in ("../_a.yaml", "a.yml", "a.json")] == [True, True, False]
    (component,) = schema["properties"]["defaults"]["patternProperties"].values()
    assert component == {"$ref": "#/$defs/Quantization"}


def test_every_reference_leads_somewhere_and_nothing_is_left_over(vocabulary: Vocabulary) -> None:
    schema = json_schema(vocabulary)
    text = json.dumps(schema)
    used = {part.split('"')[0] for part in text.split('"#/$defs/')[1:]}
    assert used == set(schema["$defs"])
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"

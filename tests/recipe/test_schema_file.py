"""`recipes/recipe.schema.json` is what the program says today; `REWRITE_GOLDENS=1` writes it anew."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from pipeline.backends import SCHEMES
from pipeline.card.stage import templates
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


def test_every_reference_leads_somewhere_and_nothing_is_left_over(vocabulary: Vocabulary) -> None:
    schema = json_schema(vocabulary)
    text = json.dumps(schema)
    used = {part.split('"')[0] for part in text.split('"#/$defs/')[1:]}
    assert used == set(schema["$defs"])
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"

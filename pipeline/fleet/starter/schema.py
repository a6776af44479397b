"""Schema: the file by which editors complete and check a recipe, which lies beside it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Final

from pipeline.backends import SCHEMES
from pipeline.card.render import templates
from pipeline.files import pretty_json
from pipeline.recipe import Vocabulary, json_schema
from pipeline.tasks import TASKS

SCHEMA: Final = "recipe.schema.json"


def schema_for(folder: Path) -> tuple[str, bytes]:
    """Return how a recipe in a folder names its schema, and what is to be written there.

    Nothing is written where it is there already, beside the recipe or one folder up; where another file has its name,
    the recipe names none.
    """
    made = json_schema(Vocabulary(SCHEMES, frozenset(templates()), TASKS))
    if title_of(folder / SCHEMA) is None and title_of(folder.resolve().parent / SCHEMA) == made["title"]:
        return f"../{SCHEMA}", b""
    if title_of(folder / SCHEMA) not in {None, made["title"]}:
        return "", b""
    content = pretty_json(made)
    there = (folder / SCHEMA).is_file() and (folder / SCHEMA).read_bytes() == content
    return SCHEMA, b"" if there else content


def title_of(path: Path) -> str | None:
    """Return the title of a schema, empty for anything else that has its name; None where there is nothing."""
    try:
        return str(json.loads(path.read_bytes())["title"])
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return ""

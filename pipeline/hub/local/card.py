"""The metadata of a README.md: reading its front matter, judging it, and what the Hub concludes from it."""

from __future__ import annotations

import re
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError
from starlette.responses import JSONResponse, PlainTextResponse, Response

from pipeline.hub.local.web import Call

_FRONT_MATTER = re.compile(r"\A\ufeff?---[ \t]*\r?\n(.*?)(?:^---[ \t]*$)", re.DOTALL | re.MULTILINE)
_EMPTY = "empty or missing yaml metadata in repo card (https://huggingface.co/docs/hub/model-cards#model-card-metadata)"
_WORDS = {"pipeline_tag": (str,), "library_name": (str,), "license_name": (str,), "license_link": (str,)}
_LISTS = {"license": (str, list), "language": (str, list), "tags": (list,), "datasets": (str, list)}
_SHAPES: dict[str, tuple[type, ...]] = {**_WORDS, **_LISTS, "base_model": (str, list), "model-index": (list,)}


_MOST_VALUES = 100_000
_MOST_DEPTH = 50


class BadCardError(ValueError):
    """The front matter of a card cannot be read."""


def metadata_of(content: str) -> dict[str, Any]:
    """Return the front matter of a card as plain JSON values; none gives an empty mapping.

    Raises:
        BadCardError: It is not YAML, or not a mapping.
    """
    found = _FRONT_MATTER.match(content)
    if not found:
        return {}
    try:
        value = YAML(typ="safe", pure=True).load(found[1])
    except (YAMLError, ValueError, TypeError) as error:  # a date that is none, a list as a key
        raise BadCardError(f"Invalid YAML: {error}") from error
    except RecursionError:
        raise BadCardError("The metadata is nested too deeply.") from None
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise BadCardError("The metadata has to be a mapping of keys to values.")
    return {str(key): _plain(each, [_MOST_VALUES], 0) for key, each in value.items()}


def body_of(content: str) -> str:
    """Return a card without its front matter."""
    return _FRONT_MATTER.sub("", content, count=1)


def validate(call: Call) -> Response:
    """Judge a card as the client asks before it uploads one."""
    errors, warnings = _judge(call.text("content"))
    if errors and call.headers.get("accept") == "text/plain":
        return PlainTextResponse("\n".join(errors), 400)
    answer = {"errors": [{"message": text} for text in errors], "warnings": [{"message": text} for text in warnings]}
    return JSONResponse(answer, 400 if errors else 200)


def tags_of(metadata: dict[str, Any], library: str | None) -> list[str]:
    """Return the tags that the Hub shows: those of the card, and one for each thing the card declares."""
    tags = [library, metadata.get("pipeline_tag"), *_many(metadata, "tags"), *_many(metadata, "language")]
    tags += [f"dataset:{name}" for name in _many(metadata, "datasets")]
    for name in _many(metadata, "base_model"):
        tags.append(f"base_model:{name}")
        if relation := metadata.get("base_model_relation"):
            tags.append(f"base_model:{relation}:{name}")
    tags += [f"license:{name}" for name in _many(metadata, "license")]
    return list(dict.fromkeys(tag for tag in tags if isinstance(tag, str)))


def library_of(metadata: dict[str, Any], paths: set[str]) -> str | None:
    """Return the library that a card names, or else the one that the files speak for."""
    if isinstance(named := metadata.get("library_name"), str):
        return named
    if "model_index.json" in paths:
        return "diffusers"
    return "transformers" if "config.json" in paths else None


def _plain(value: Any, left: list[int], depth: int) -> Any:
    """Return a value of YAML as JSON knows it, if it is no larger than a card needs; aliases can make it endless.

    Args:
        value: What was read.
        left: In one item, how many more values there may be.
        depth: How deep in the metadata this is.
    """
    left[0] -= 1
    if left[0] < 0 or depth > _MOST_DEPTH:
        raise BadCardError("The metadata holds too many values, or nests them too deeply.")
    if isinstance(value, dict):
        return {str(key): _plain(each, left, depth + 1) for key, each in value.items()}
    if isinstance(value, list | tuple | set):
        return [_plain(each, left, depth + 1) for each in value]
    return value if value is None or isinstance(value, str | int | float) else str(value)


def _judge(content: str) -> tuple[list[str], list[str]]:
    try:
        metadata = metadata_of(content)
    except BadCardError as error:
        return [str(error)], []
    errors = [
        f'"{key}" must be {" or ".join("a string" if kind is str else "a list" for kind in kinds)}'
        for key, kinds in _SHAPES.items()
        if metadata.get(key) is not None and not isinstance(metadata[key], kinds)
    ]
    return errors, [] if metadata else [_EMPTY]


def _many(metadata: dict[str, Any], key: str) -> list[Any]:
    value = metadata.get(key) or []
    return value if isinstance(value, list) else [value]

"""The metadata of a README.md: judging it, and what the Hub concludes from it."""

from __future__ import annotations

from typing import Any

from starlette.responses import JSONResponse, PlainTextResponse, Response

from localhub.card_rules import EMPTY, errors_of, many, metadata_of
from localhub.refusals import RefusedError, bad_request
from localhub.web import Call


def validate(call: Call) -> Response:
    """Judge a card as the client asks before it uploads one."""
    content = call.text("content")
    errors = errors_of(content)
    warnings = [] if errors or metadata_of(content) else [EMPTY]
    if errors and call.headers.get("accept") == "text/plain":
        return PlainTextResponse("\n".join(errors), 400)
    answer = {"errors": [{"message": text} for text in errors], "warnings": [{"message": text} for text in warnings]}
    return JSONResponse(answer, 400 if errors else 200)


def refusal_of(content: str) -> RefusedError | None:
    """Return why a commit with a card is refused; None where it is taken."""
    errors = errors_of(content)
    return bad_request(f"Invalid metadata in README.md: {'; '.join(errors)}") if errors else None


def tags_of(metadata: dict[str, Any], library: str | None) -> list[str]:
    """Return the tags that the Hub shows: those of the card, and one for each thing the card declares."""
    tags = [library, metadata.get("pipeline_tag"), *many(metadata, "tags"), *many(metadata, "language")]
    tags += [f"dataset:{name}" for name in many(metadata, "datasets")]
    for name in many(metadata, "base_model"):
        tags.append(f"base_model:{name}")
        if relation := metadata.get("base_model_relation"):
            tags.append(f"base_model:{relation}:{name}")
    tags += [f"license:{name}" for name in many(metadata, "license")]
    return list(dict.fromkeys(tag for tag in tags if isinstance(tag, str)))


def library_of(metadata: dict[str, Any], paths: set[str]) -> str | None:
    """Return the library that a card names, or else the one that the files speak for."""
    if isinstance(named := metadata.get("library_name"), str):
        return named
    if "model_index.json" in paths:
        return "diffusers"
    return "transformers" if "config.json" in paths else None

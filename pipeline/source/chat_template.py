"""The chat template of a tokenizer, which lies in a file of its own, in the tokenizer's config, or in both."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from pipeline.errors import SourceError
from pipeline.files import pretty_json, write_atomically
from pipeline.source.strict import WHOLE, parse

TEMPLATE: Final = "chat_template.jinja"
TOKENIZER: Final = "tokenizer_config.json"


def told(folder: Path) -> Any:
    """Return a tokenizer's config with the template, which is that of the file where the config has none of its own.

    Args:
        folder: A folder that has both files.

    Raises:
        SourceError: The config is no JSON, or the template no text.
    """
    try:
        template, config = (folder / TEMPLATE).read_bytes().decode(), parse((folder / TOKENIZER).read_bytes())
    except ValueError as error:
        what = f"{TOKENIZER} or {TEMPLATE} cannot be read: {error}."
        raise SourceError(what, where=str(folder), remedy=WHOLE) from error
    return {"chat_template": template, **config} if isinstance(config, dict) else config


def tell(folder: Path) -> None:
    """Write the template that is a file into the tokenizer's config, too, where a folder has both files.

    Raises:
        SourceError: One of them cannot be read.
    """
    if (folder / TEMPLATE).is_file() and (folder / TOKENIZER).is_file():
        write_atomically(folder / TOKENIZER, pretty_json(told(folder)))

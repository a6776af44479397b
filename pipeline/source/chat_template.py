"""The chat template of a tokenizer, which lies in a file of its own, in the tokenizer's config, or in both."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from pipeline.files import pretty_json, write_atomically
from pipeline.source.strict import WHOLE, parse
from pipeline.worker.child import WorkerError

TEMPLATE: Final = "chat_template.jinja"
TOKENIZER: Final = "tokenizer_config.json"


def told(folder: Path) -> Any:
    """Return a tokenizer's config with the template, which is that of the file where the config has none of its own.

    Args:
        folder: A folder that has both files.

    Raises:
        WorkerError: The config is no JSON, or the template no text.
    """
    try:
        template, config = (folder / TEMPLATE).read_bytes().decode(), parse((folder / TOKENIZER).read_bytes())
    except ValueError as error:
        what = f"{TOKENIZER} or {TEMPLATE} cannot be read: {error}."
        raise WorkerError("source", what, WHOLE) from error
    return {"chat_template": template, **config} if isinstance(config, dict) else config


def write(source: Path, out: Path) -> None:
    """Write a source's config of a tokenizer, where it has one, with the template that is a file.

    Raises:
        WorkerError: One of them cannot be read.
    """
    if (source / TOKENIZER).is_file():
        known = (source / TEMPLATE).is_file()
        write_atomically(out / TOKENIZER, pretty_json(told(source)) if known else (source / TOKENIZER).read_bytes())

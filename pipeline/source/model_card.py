"""Model card: what the README of a source says in its metadata, read as the Hub's client reads it.

The reader is the client's own, so that the license, name and language which everybody else sees are those that a
derived card repeats. It reads YAML 1.1, where the code of Norwegian is a false, which is undone here.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

from pipeline.errors import SourceError
from pipeline.files import human_size
from pipeline.source.layout import Place, read_small

CARD: Final = "README.md"
LICENSE_KEYS: Final = ("license", "license_name", "license_link")
REPEATED: Final = (*LICENSE_KEYS, "language", "pipeline_tag")  # by a card of what is made of the source
LARGEST_METADATA: Final = 256 << 10  # characters; a mapping of a megabyte takes YAML half a minute
UNREADABLE: Final = "Correct the block between the lines `---` at its head, or ask its publisher to."


def repeated_fields(place: Place) -> dict[str, str | list[str]]:
    """Return what a source's card says that a derived card repeats; a source may have no card.

    Raises:
        SourceError: Its metadata cannot be read, so that a license might be lost, or they are not those that its place
            lists.
    """
    content = read_small(place, CARD) if CARD in place.files else b""
    said = front_matter(content, f"{place.where}/{CARD}")
    return {key: said[key] for key in REPEATED if key in said}


def front_matter(content: bytes, where: str) -> dict[str, Any]:
    """Return the YAML block at the head of a README, empty where there is none.

    Args:
        content: The README.
        where: How it is named in messages.

    Raises:
        SourceError: The block cannot be read, or what a derived card repeats of it is not text.
    """
    found = load(content, where)
    said = {key: value for key, value in found.items() if value is not None}
    for key in REPEATED:
        if key in said:
            said[key] = texts(key, said[key], where)
    return said


def load(content: bytes, where: str) -> Mapping[str, Any]:
    """Return the YAML block as the client loads it.

    Raises:
        SourceError: The client cannot read it, or it would take too long.
    """
    import yaml
    from huggingface_hub.repocard import REGEX_YAML_BLOCK, metadata_load

    block = REGEX_YAML_BLOCK.search(content.decode("utf-8-sig", errors="replace"))
    if block and len(block[2]) > LARGEST_METADATA:
        raise SourceError(f"The metadata are over {human_size(LARGEST_METADATA)}.", where=where, remedy=UNREADABLE)
    # Of values that are not what their tags say, PyYAML raises what Python does.
    unfit = (ValueError, LookupError, TypeError, AttributeError, ArithmeticError, RecursionError)
    try:
        with TemporaryDirectory() as folder:  # the client reads files
            path = Path(folder) / CARD
            path.write_bytes(content)
            return metadata_load(path) or {}
    except (yaml.YAMLError, *unfit) as error:
        reason = " ".join(str(error).split())[:300]
        raise SourceError(f"The metadata cannot be read ({reason}).", where=where, remedy=UNREADABLE) from error


def texts(key: str, value: object, where: str) -> str | list[str]:
    """Return a text, or a list of texts; a number is as good.

    Raises:
        SourceError: It is something else; aliases may unfold to more than any memory holds.
    """
    parts = value if isinstance(value, list) else [value]
    parts = ["no" if key == "language" and part is False else part for part in parts]
    if not all(isinstance(part, str | int | float) and not isinstance(part, bool) for part in parts):
        what = f"In the metadata {key} is neither a text nor a list of texts."
        raise SourceError(what, where=where, remedy=UNREADABLE)
    told = [str(part) for part in parts]
    return told if isinstance(value, list) else told[0]

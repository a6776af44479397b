"""The files of a recipe as text: its own, and those that it includes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pipeline.recipe.nodes import Page
from pipeline.recipe.parse import place_at
from pipeline.recipe.problems import InvalidRecipe, Problem, nearest

if TYPE_CHECKING:
    from pathlib import Path

LARGEST = 128 << 10  # bytes; a recipe is a page that people review


def content_of(path: Path) -> bytes:
    """Return a file's bytes.

    Raises:
        InvalidRecipe: It cannot be read, or is too large.
    """
    try:
        if path.is_dir():
            raise refused(path, "this is a folder; name the recipe in it")
        if path.exists() and not path.is_file():
            raise refused(path, "this is no file to read, but a pipe or a device")
        if not path.is_file():
            siblings = [found.name for found in path.parent.glob("*.y*ml") if found.is_file()]
            raise refused(path, "there is no such file", nearest(path.name, siblings))
        if path.stat().st_size > LARGEST:
            raise refused(path, f"larger than {LARGEST >> 10} KiB; a recipe is a page that people review")
        return path.read_bytes()
    except OSError as error:
        raise refused(path, f"cannot be read ({error.strerror})") from error


def page_of(name: str, content: bytes) -> Page:
    """Return a file's text.

    Raises:
        InvalidRecipe: It is not UTF-8.
    """
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        if content[:2] in (b"\xff\xfe", b"\xfe\xff"):
            raise refused(name, "the file is UTF-16; save it as UTF-8") from None
        page = Page(name, content.decode("utf-8", "replace"))
        place = place_at(content[: error.start].decode("utf-8"))
        page.report(place, f"the byte 0x{content[error.start]:02x} is no UTF-8; save the file as UTF-8")
        raise InvalidRecipe(page.problems) from None
    return Page(name, text.replace("\r\n", "\n").replace("\r", "\n"))


def refused(file: Path | str, text: str, suggestion: str = "") -> InvalidRecipe:
    """Return the error of a file that is no text to look into."""
    return InvalidRecipe([Problem(str(file), 0, 0, text, suggestion=suggestion)])

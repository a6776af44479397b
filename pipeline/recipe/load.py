"""A recipe's file to a `Recipe`, or every problem in it at once with its place."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.errors import RecipeError
from pipeline.recipe import quantization
from pipeline.recipe.check import Check
from pipeline.recipe.nodes import Node, Page, Place, StopReadingError, Table, describe, place_of, text_at
from pipeline.recipe.parse import parse, place_at
from pipeline.recipe.problems import InvalidRecipe, Problem, nearest
from pipeline.recipe.reader import Reader
from pipeline.recipe.schema import Quantization, Recipe, Validation

if TYPE_CHECKING:
    from pydantic import BaseModel

    from pipeline.recipe.reader import Hook
    from pipeline.recipe.vocabulary import Vocabulary

SHARED = "shared"  # the key under which anchored blocks may stand that are no part of the recipe themselves
LARGEST = 128 << 10  # bytes; a recipe is a page that people review


@dataclass(frozen=True)
class Loaded:
    """A recipe with where it was read.

    Attributes:
        recipe: What it says.
        path: The file.
        text: Its bytes as written, for publishing beside the checkpoint.
    """

    recipe: Recipe
    path: Path
    text: bytes

    def resolve(self, relative: str) -> Path:
        """Return the place of a path that the recipe names, relative to the recipe's own file."""
        return self.path.parent / relative


def load(path: Path, vocabulary: Vocabulary, *, models: bool = False) -> Loaded:
    """Read a recipe; offline, and without any quantization library.

    Args:
        path: Its file.
        vocabulary: The words it may use.
        models: Whether the folders of its models must be there, which what was published before can do without.

    Raises:
        InvalidRecipe: With all problems at once.
    """
    content = _content(path)
    return Loaded(read_recipe(content, str(path), vocabulary, path.parent, models=models), path, content)


def read_recipe(
    text: bytes, name: str, vocabulary: Vocabulary, folder: Path | None = None, *, models: bool = False
) -> Recipe:
    """Read a recipe, such as one that was published.

    Args:
        text: Its bytes.
        name: How it is named in messages.
        vocabulary: The words it may use.
        folder: Where the files lie that it names; these are not looked at where it lies apart from them.
        models: Whether the folders of its models must be there as well.

    Raises:
        InvalidRecipe: With all problems at once.
    """
    page, recipe = _page(name, text), None
    with suppress(StopReadingError):  # the page has the problems that were found until then
        if root := _root(page):
            recipe = Reader(page, hooks(root, vocabulary)).read(root, Recipe)
            Check(page, root, vocabulary).run(folder, models=models)
    if page.problems or not isinstance(recipe, Recipe):
        raise InvalidRecipe(page.problems)
    return recipe


def read_quantization(text: str, vocabulary: Vocabulary) -> Quantization:
    """Read what is done to one component, as it would stand in a recipe, from the words of a command line.

    Raises:
        RecipeError: With all problems at once.
    """
    page, found = Page("command line", text), None
    with suppress(StopReadingError):
        if root := parse(page):
            found = Reader(page, hooks(root, vocabulary)).read(root, Quantization)
            Check(page, root, vocabulary).scheme(root)
    if page.problems or not isinstance(found, Quantization):
        raise RecipeError("\n".join(map(str, page.problems)), remedy="Correct the options of the command.")
    return found


def hooks(root: Node, vocabulary: Vocabulary) -> dict[type[BaseModel], Hook]:
    """Return how those parts of a recipe are read that words elsewhere in it decide on."""

    def validation(reader: Reader, written: Table) -> Any:
        task = vocabulary.task(text_at(root, "task"))
        return task.validation.model_validate(written, context=reader) if task else None  # which is told elsewhere

    return {Quantization: quantization.hook(vocabulary), Validation: validation}


def problems(path: Path, vocabulary: Vocabulary) -> list[Problem]:
    """List every problem of a recipe in the order of the file; none means that `load` succeeds."""
    try:
        load(path, vocabulary, models=True)
    except InvalidRecipe as error:
        return list(error.problems)
    return []


def problem_at(loaded: Loaded, path: tuple[str, ...], text: str) -> Problem:
    """Return what is wrong with a recipe that was read, where that is found out later, at the place of a key."""
    page = _page(str(loaded.path), loaded.text)
    root = parse(page)
    page.report(place_of(root, path) if root else Place(), text)
    return page.problems[0]


def _root(page: Page) -> Node | None:
    """Return the page's mapping; anything else is reported."""
    root, words = parse(page), ", ".join(Recipe.model_fields)
    if root and root.value and isinstance(root.value, dict):
        root.value.pop(SHARED, None)
        return root
    if not page.problems and root and root.value:
        page.report(root.place, f"a recipe is a mapping with {words}; found {describe(root)}")
    elif not page.problems:
        page.report(Place(), f"the recipe is empty; it is a mapping with {words}")
    return None


def _content(path: Path) -> bytes:
    """Return a file's bytes."""
    try:
        if path.is_dir():
            raise _refused(path, "this is a folder; name the recipe in it")
        if not path.is_file():
            siblings = [found.name for found in path.parent.glob("*.y*ml")] if path.parent.is_dir() else []
            raise _refused(path, "there is no such file", nearest(path.name, siblings))
        if path.stat().st_size > LARGEST:
            raise _refused(path, f"larger than {LARGEST >> 10} KiB; a recipe is a page that people review")
        return path.read_bytes()
    except OSError as error:
        raise _refused(path, f"cannot be read ({error.strerror})") from error


def _page(name: str, content: bytes) -> Page:
    """Return a file's text."""
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        if content[:2] in (b"\xff\xfe", b"\xfe\xff"):
            raise _refused(name, "the file is UTF-16; save it as UTF-8") from None
        page = Page(name, content.decode("utf-8", "replace"))
        place = place_at(content[: error.start].decode("utf-8"))
        page.report(place, f"the byte 0x{content[error.start]:02x} is no UTF-8; save the file as UTF-8")
        raise InvalidRecipe(page.problems) from None
    return Page(name, text.replace("\r\n", "\n").replace("\r", "\n"))


def _refused(file: Path | str, text: str, suggestion: str = "") -> InvalidRecipe:
    return InvalidRecipe([Problem(str(file), 0, 0, text, suggestion=suggestion)])

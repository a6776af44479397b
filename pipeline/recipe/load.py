"""A recipe's file to a `Recipe`, or every problem in it at once with its place."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.errors import RecipeError
from pipeline.recipe import quantization
from pipeline.recipe.check import Check
from pipeline.recipe.nodes import Mapping, Node, Page, Place, Scalar, TooManyProblemsError, describe, place_of, text_at
from pipeline.recipe.parse import parse
from pipeline.recipe.problems import InvalidRecipe, Problem, nearest
from pipeline.recipe.reader import FAILED, Hook, Reader
from pipeline.recipe.schema import Quantization, Recipe, Validation

if TYPE_CHECKING:
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


def load(path: Path, vocabulary: Vocabulary) -> Loaded:
    """Read a recipe; offline, and without any quantization library.

    Raises:
        InvalidRecipe: With all problems at once.

    """
    text, page = _open(path)
    recipe = FAILED
    with suppress(TooManyProblemsError):  # the page has the problems that were found until then
        recipe = FAILED if page.problems else _read(page, path.parent, vocabulary)
    if page.problems or recipe is FAILED:
        raise InvalidRecipe(page.problems)
    return Loaded(recipe, path, text)


def read_recipe(text: bytes, name: str, vocabulary: Vocabulary) -> Recipe:
    """Read a recipe that lies apart from the files it names, such as one that was published.

    Args:
        text: Its bytes.
        name: How it is named in messages.
        vocabulary: The words it may use.

    Raises:
        InvalidRecipe: With all problems at once.

    """
    page = _decode(Path(name), text)
    recipe = FAILED
    with suppress(TooManyProblemsError):
        root = FAILED if page.problems else _root(page)
        if isinstance(root, Mapping):
            recipe = Reader(page, hooks(root, vocabulary)).read(root, Recipe)
            Check(page, root, Path(), vocabulary).names()  # the only check whose findings the types know too
    if page.problems or not isinstance(recipe, Recipe):
        raise InvalidRecipe(page.problems)
    return recipe


def read_quantization(text: str, vocabulary: Vocabulary) -> Quantization:
    """Read what is done to one component, as it would stand in a recipe, from the words of a command line.

    Raises:
        RecipeError: With all problems at once.

    """
    page = Page("command line", text)
    found = FAILED
    with suppress(TooManyProblemsError):
        root = parse(page)
        found = (
            FAILED
            if root is None
            else Reader(page, {Quantization: quantization.hook(vocabulary)}).read(root, Quantization)
        )
    if page.problems or not isinstance(found, Quantization):
        raise RecipeError("\n".join(map(str, page.problems)), remedy="Correct the options of the command.")
    return found


def problems(path: Path, vocabulary: Vocabulary) -> list[Problem]:
    """List every problem of a recipe in the order of the file; none means that `load` succeeds."""
    try:
        load(path, vocabulary)
    except InvalidRecipe as error:
        return list(error.problems)
    return []


def problem_at(loaded: Loaded, path: tuple[str, ...], text: str) -> Problem:
    """Return what is wrong with a recipe that was read, where that is found out later, at the place of a key."""
    page = _decode(loaded.path, loaded.text)
    root = parse(page)
    page.report(place_of(root, path) if root else Place(), text)
    return page.problems[0]


def hooks(root: Mapping, vocabulary: Vocabulary) -> dict[Any, Hook]:
    """Return how those parts of a recipe are read that words elsewhere in it decide on."""
    task = vocabulary.task(text_at(root, "task"))

    def validation(reader: Reader, node: Node) -> Any:
        return (
            reader.read_model(node, task.validation) if task else FAILED
        )  # which task was asked for is told elsewhere

    return {Quantization: quantization.hook(vocabulary), Validation: validation}


def _read(page: Page, folder: Path, vocabulary: Vocabulary) -> Any:
    root = _root(page)
    if not isinstance(root, Mapping):
        return FAILED
    recipe = Reader(page, hooks(root, vocabulary)).read(root, Recipe)
    Check(page, root, folder, vocabulary).run()
    return recipe


def _root(page: Page) -> Any:
    """Return the page's mapping; anything else is reported."""
    root = parse(page)
    if isinstance(root, Mapping) and root.entries:
        return Mapping(root.place, tuple(entry for entry in root.entries if entry[0].text != SHARED))
    if not page.problems:
        _report_no_mapping(page, root)
    return FAILED


def _report_no_mapping(page: Page, root: Node | None) -> None:
    words = ", ".join(Recipe.model_fields)
    if root is None or (isinstance(root, (Mapping, Scalar)) and not getattr(root, "text", "")):
        page.report(Place(), f"the recipe is empty; it is a mapping with {words}")
    else:
        page.report(root.place, f"a recipe is a mapping with {words}; found {describe(root)}")


def _open(path: Path) -> tuple[bytes, Page]:
    """Return a file's bytes and its page; a file that cannot be read has an empty page that says why."""
    nowhere = Page(str(path), "")
    try:
        if path.is_dir():
            return b"", _failed(nowhere, "this is a folder; name the recipe in it")
        if not path.is_file():
            return b"", _missing(nowhere, path)
        if path.stat().st_size > LARGEST:
            return b"", _failed(nowhere, f"larger than {LARGEST >> 10} KiB; a recipe is a page that people review")
        content = path.read_bytes()
    except OSError as error:
        return b"", _failed(nowhere, f"cannot be read ({error.strerror})")
    return content, _decode(path, content)


def _decode(path: Path, content: bytes) -> Page:
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        if content[:2] in (b"\xff\xfe", b"\xfe\xff"):
            return _failed(Page(str(path), ""), "the file is UTF-16; save it as UTF-8")
        before = content[: error.start].decode("utf-8")
        page = Page(str(path), content.decode("utf-8", "replace"))
        place = Place(before.count("\n") + 1, len(before) - before.rfind("\n"))
        page.report(place, f"the byte 0x{content[error.start]:02x} is no UTF-8; save the file as UTF-8")
        return page
    return Page(str(path), text.replace("\r\n", "\n").replace("\r", "\n"))


def _missing(page: Page, path: Path) -> Page:
    siblings = [found.name for found in path.parent.glob("*.y*ml")] if path.parent.is_dir() else []
    return _failed(page, "there is no such file", nearest(path.name, siblings))


def _failed(page: Page, text: str, suggestion: str = "") -> Page:
    page.problems.append(Problem(page.file, 0, 0, text, suggestion=suggestion))
    return page

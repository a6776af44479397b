"""A recipe's file to a `Recipe`, or every problem in it at once with its place."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.errors import RecipeError
from pipeline.recipe import quantization
from pipeline.recipe.budget import CARDS, step
from pipeline.recipe.check import Check
from pipeline.recipe.defaults import DEFAULTS, begin_with, defaults_in, leave_to_others
from pipeline.recipe.include import INCLUDE, SHARED, include
from pipeline.recipe.nodes import (
    Node,
    Page,
    Place,
    StopReadingError,
    Table,
    describe,
    every,
    nearby,
    place_of,
    text_at,
)
from pipeline.recipe.parse import parse
from pipeline.recipe.problems import InvalidRecipe, Problem, nearest
from pipeline.recipe.quantization import Default
from pipeline.recipe.reader import Reader
from pipeline.recipe.schema import Quantization, Recipe, Validation
from pipeline.recipe.text import content_of, page_of
from pipeline.recipe.whole import whole

if TYPE_CHECKING:
    from pydantic import BaseModel

    from pipeline.recipe.reader import Hook
    from pipeline.recipe.vocabulary import Vocabulary

BELONGS = "'cards' belongs under a target, such as targets: {ladder: {cards: [8GB, 12GB]}}"
APART = (INCLUDE, DEFAULTS)  # what the types of a recipe do not have


@dataclass(frozen=True)
class Loaded:
    """A recipe with where it was read.

    Attributes:
        recipe: What it says.
        path: The file.
        text: Its bytes as written.
        included: The files that it includes.
        resolved: What it says with their words in their places, where it includes any.
        lent: The targets of which these files say something.
        begun: The components that begin with defaults.
    """

    recipe: Recipe
    path: Path
    text: bytes
    included: tuple[Path, ...] = ()
    resolved: bytes = b""
    lent: frozenset[str] = frozenset()
    begun: frozenset[str] = frozenset()

    @property
    def published(self) -> bytes:
        """What is published beside the checkpoint: the recipe as written where that says all by itself."""
        return self.resolved or self.text

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
    return _read(content_of(path), str(path), vocabulary, path.parent, models=models)


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
    return _read(text, name, vocabulary, folder, models=models).recipe


def _read(text: bytes, name: str, vocabulary: Vocabulary, folder: Path | None, *, models: bool) -> Loaded:
    page, found = page_of(name, text), None
    with suppress(StopReadingError):  # the page has the problems that were found until then
        if root := _root(page):
            lent = include(page, root, folder)
            leave_to_others(page, root)
            resolved = whole(root) if page.included else b""
            reader, defaults = Reader(page, hooks(root, vocabulary)), defaults_in(page, root)
            for default in defaults.values():
                reader.read(default, Default)
            begin_with(page, root, defaults)
            recipe = reader.read(root, Recipe)
            Check(page, root, vocabulary, tuple(defaults.values())).run(folder, models=models)
            found = Loaded(
                recipe,
                Path(name),
                text,
                tuple(map(Path, page.included)),
                resolved,
                frozenset(lent),
                frozenset(defaults),
            )
    if page.problems or found is None:
        raise InvalidRecipe(page.problems, page.file)
    return found


def problems_of_included(path: Path, vocabulary: Vocabulary) -> list[Problem]:
    """List every problem of a file that recipes include, which lacks what these say themselves."""
    try:
        content_of(path)
    except InvalidRecipe as error:
        return list(error.problems)
    page = Page(str(path), "")  # a recipe that says nothing but to include it
    root = Node(Place(), {INCLUDE: Node(Place(), str(path), str(path))})
    with suppress(StopReadingError):
        include(page, root, Path())
        reader, defaults = Reader(page, hooks(root, vocabulary), partial=True), defaults_in(page, root)
        for default in defaults.values():
            reader.read(default, Default)
        reader.read(root, Recipe)
        Check(page, root, vocabulary, tuple(defaults.values())).run(Path(), models=True)
    return sorted(page.problems, key=lambda one: (one.line, one.column))


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

    return {**quantization.hooks(vocabulary), Validation: validation}


def problems(path: Path, vocabulary: Vocabulary) -> list[Problem]:
    """List every problem of a recipe in the order of the file; none means that `load` succeeds."""
    try:
        load(path, vocabulary, models=True)
    except InvalidRecipe as error:
        return list(error.problems)
    return []


def problem_at(loaded: Loaded, path: tuple[str, ...], text: str, suggestion: str = "") -> Problem:
    """Return what is wrong with a recipe that was read, where that is found out later, at the place of a key."""
    page, root = _again(loaded)
    page.report(place_of(root, path), text, suggestion)
    return page.problems[-1]


def place_of_target(loaded: Loaded, target: str) -> str:
    """Return where a recipe that was read asks for a target, ``file:line:column``; of a ladder's step the card."""
    page, root = _again(loaded)
    cards = (
        card
        for ladder in every(root, "targets", "*")
        for card in every(ladder, CARDS, "#")
        if step(card.text) == target
    )
    at = next(cards, None) or nearby(root, ("targets", target))
    return f"{page.included.get(at.place.file, page).file}:{at.place.line}:{at.place.column}"


def _again(loaded: Loaded) -> tuple[Page, Node]:
    """Read the text of a recipe once more, whose tree knows where everything stands."""
    page = page_of(str(loaded.path), loaded.text)
    root = _root(page) or Node(Place(), None)
    with suppress(StopReadingError):  # a file is gone since
        include(page, root, loaded.path.parent)
    return page, root


def _root(page: Page) -> Node | None:
    """Return the page's mapping; anything else is reported."""
    root, words = parse(page), ", ".join(Recipe.model_fields)
    if root and root.value and isinstance(root.value, dict):
        root.value.pop(SHARED, None)
        known = [*Recipe.model_fields, *APART]
        for word in [word for word in root.value if word not in known]:
            meant = nearest(word, known)
            if word == CARDS and not isinstance(root.value[word].value, dict):  # else it is a misspelled 'card'
                page.report(root.value.pop(word).at, BELONGS)
            elif meant in APART and meant not in root.value:  # what the types, which do not have it, would not say
                page.report(root.value[word].at, f"unknown key {word!r}", meant)
                root.value[meant] = root.value.pop(word)
        return root
    if not page.problems and root and root.value:
        page.report(root.place, f"a recipe is a mapping with {words}; found {describe(root)}")
    elif not page.problems:
        page.report(Place(), f"the recipe is empty; it is a mapping with {words}")
    return None

"""Included files: what several recipes have in common, read into the tree of each as if it stood in that.

What the recipe says itself counts; of two files the later one does. Mappings are merged key by key, all else is taken
as a whole. Every word keeps the place where it stands, and a path leads from the file that has it.
"""

from __future__ import annotations

from os.path import normpath, relpath
from pathlib import Path, PurePath
from typing import Final

from pipeline.recipe import names
from pipeline.recipe.nodes import Node, Page, Place, StopReadingError, describe, every
from pipeline.recipe.parse import parse
from pipeline.recipe.problems import InvalidRecipe
from pipeline.recipe.text import content_of, page_of

INCLUDE: Final = "include"
SHARED: Final = "shared"  # the key under which anchored blocks may stand that are no part of the recipe themselves
MOST: Final = 8  # files that a recipe includes
PATHS: Final = (  # where a recipe names files of this disk
    ("source", "path"),
    ("loras", "#", "path"),
    ("validation", "prompts"),
    ("validation", "require", "*", "model"),
)


def is_included(path: Path) -> bool:
    """Tell by its name whether a file is one that recipes include."""
    return path.name.startswith("_")


def include(page: Page, root: Node, folder: Path | None) -> set[str]:
    """Read what a recipe includes into its tree.

    Args:
        page: The recipe, which gets the pages of the files, and the problems in them.
        root: Its tree.
        folder: Where it lies; what was published includes nothing.

    Returns:
        The targets of which these files say something.

    Raises:
        StopReadingError: One of them cannot be read, and nobody knows what the recipe lacks.
    """
    lent: set[str] = set()
    if not isinstance(root.value, dict) or (asked := root.value.pop(INCLUDE, None)) is None:
        return lent
    files = asked.value if isinstance(asked.value, list) else [asked]
    if folder is None or len(files) > MOST:
        most = f"{len(files)} files are included; a recipe includes at most {MOST}"
        page.report(asked.at, most if folder else "only a recipe in a file of its own includes others")
        raise StopReadingError
    if not files:
        page.report(asked.at, "the list of included files is empty; name one, or leave the key out")
    trees = [_tree(page, file, folder) for file in files]
    for under in reversed(trees):  # so that the later one has its words first
        if under:
            lent |= {target.name for target in every(under, "targets", "*")}
            merge(root, under)
    if None in trees:
        raise StopReadingError
    return lent


def merge(over: Node, under: Node) -> None:
    """Add to a mapping what another one has beyond it."""
    if isinstance(over.value, dict) and isinstance(under.value, dict):
        for word, entry in under.value.items():
            if word in over.value:
                merge(over.value[word], entry)
            else:
                over.value[word] = entry


def _tree(page: Page, file: Node, folder: Path) -> Node | None:
    """Return the mapping of an included file with paths that lead from a folder; anything else is reported."""
    if not file.is_word or not file.text:
        page.report(file.place, f"expected a file or a list of them, found {describe(file)}")
        return None
    try:
        path = Path(normpath(folder / names.included(file.text)))
        own = page_of(str(path), content_of(path))
    except names.UnfitError as error:
        page.report(file.place, str(error))
        return None
    except InvalidRecipe as error:
        for problem in error.problems:
            if problem.line:
                page.problems.append(problem)
            else:
                page.report(file.place, f"{file.text}: {problem.text}", problem.suggestion)
        return None
    own.problems = page.problems
    page.included[own.file] = own
    return _words_of(own, relpath(path.parent, folder))


def _words_of(page: Page, folder: str) -> Node | None:
    """Return the mapping of an included file.

    Args:
        page: The file.
        folder: What leads to its folder from the recipe's.
    """
    found, root = len(page.problems), parse(page)
    if root is None or not isinstance(root.value, dict):
        if len(page.problems) == found:
            what = describe(root) if root else "nothing"
            page.report(root.place if root else Place(), f"an included file is a mapping as a recipe is; found {what}")
        return None
    root.value.pop(SHARED, None)
    if nested := root.value.pop(INCLUDE, None):
        page.report(nested.at, "an included file includes no other; name that one in the recipe")
        return None
    for path in PATHS:
        for node in every(root, *path):
            if node.is_word and folder != "." and (path[-1] != "model" or names.is_path(node.text)):
                node.value = _moved(node.text, folder)
    return root


def _moved(path: str, folder: str) -> str:
    """Return a path as it is written one folder off; what is none stays for the types to tell."""
    try:
        moved = PurePath(normpath(PurePath(folder, names.path(path)))).as_posix()
    except names.UnfitError:
        return path
    return moved if names.is_path(moved) or not names.is_path(path) else f"./{moved}"

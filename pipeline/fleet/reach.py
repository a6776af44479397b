"""Reach: which files of this disk a recipe depends on, and so which recipes a change of files is about."""

from __future__ import annotations

import subprocess
from collections.abc import Iterable, Iterator, Sequence
from os.path import abspath
from pathlib import Path
from typing import Final

from pipeline.card.render import template_files
from pipeline.errors import CannotHereError, RecipeError
from pipeline.recipe import FolderLora, FolderSource, InvalidRecipe, Loaded, Vocabulary, load
from pipeline.recipe.names import is_path
from pipeline.recipe.prompts import scan
from pipeline.tasks import TASKS

UNBORN: Final = "0" * 40  # the commit that GitHub names before a branch's first push


def recipes_in(folder: Path) -> list[Path]:
    """Return every recipe under a folder; what recipes include may lie there too, in files that begin with ``_``."""
    return sorted(path for form in ("yaml", "yml") for path in folder.rglob(f"[!_]*.{form}"))


def including(part: Path, vocabulary: Vocabulary) -> str:
    """Return what to run instead of a part that recipes include, with one that does; as far as they lie beside it."""
    found = touched(recipes_in(part.parent), [part], vocabulary)
    return f"`publish plan {found[0]}` plans one with it" if found else "no recipe beside it includes it yet"


def reached(loaded: Loaded) -> frozenset[Path]:
    """Return every file and folder of this disk that a recipe depends on; of a folder, whatever is in it.

    Each is absolute, under the name that leads to it and, where that is a link, under that of what it leads to.
    """
    return frozenset(place for path in _named(loaded) for place in places(path))


def _named(loaded: Loaded) -> Iterator[Path]:
    """Yield the recipe, what it includes and names, and what its prompts name."""
    recipe = loaded.recipe
    yield from (loaded.path, *loaded.included)
    yield from template_files(recipe.card.template)
    if isinstance(recipe.source, FolderSource):
        yield loaded.resolve(recipe.source.path)
    yield from (loaded.resolve(lora.path) for lora in recipe.loras if isinstance(lora, FolderLora))
    yield from (loaded.resolve(name) for name, _ in recipe.validation.require.judged.values() if is_path(name))
    if isinstance(recipe.validation.prompts, str):
        prompts = loaded.resolve(recipe.validation.prompts)
        lines, _ = scan(prompts, TASKS[recipe.task].form)
        yield prompts
        yield from (prompts.parent / file for line in lines for file in line.files.values())


def places(path: Path) -> tuple[Path, Path]:
    """Return the absolute names of a file: its own, and that of what it leads to."""
    return Path(abspath(path)), path.resolve()  # noqa: PTH100  which leaves links as they are


def touched(recipes: Iterable[Path], changed: Iterable[Path], vocabulary: Vocabulary) -> list[Path]:
    """Return the recipes that depend on any of these files, be these gone now.

    What a recipe with problems depends on is not known, so it is among them.
    """
    moved = {place for path in changed for place in places(path)}
    moved |= {above for place in moved for above in place.parents}  # where a folder is reached, what is in it is
    return [path for path in recipes if _depends(path, moved, vocabulary)]


def _depends(path: Path, moved: set[Path], vocabulary: Vocabulary) -> bool:
    try:
        return not reached(load(path, vocabulary)).isdisjoint(moved)
    except InvalidRecipe:
        return True


def changed_since(commit: str, folder: Path) -> list[Path] | None:
    """Return the files of a checkout that differ from a commit, those that git does not know yet included.

    Args:
        commit: A commit, branch or tag; 40 zeros stand for one before the first.
        folder: A folder of the checkout.

    Returns:
        The files, those that are gone included; None where everything is new.

    Raises:
        CannotHereError: There is no git.
        RecipeError: The folder is in no checkout, or the commit is not in it.
    """
    if commit == UNBORN:
        return None
    elsewhere = "Run it in the git checkout that has the recipes."
    root = Path(_git(folder, "rev-parse", "--show-toplevel", remedy=elsewhere).rstrip("\n"))
    cut = _git(root, "rev-parse", "--is-shallow-repository").strip() == "true"
    more = "`git fetch --unshallow` gets those that it lacks" if cut else "`git fetch` gets new ones"
    remedy = f"Name a commit, branch or tag that this checkout has (`git log --oneline --all` shows them); {more}."
    base = _git(root, "rev-parse", "--verify", "--end-of-options", f"{commit}^{{commit}}", remedy=remedy).strip()
    found = _git(root, "diff", "--name-only", "--no-renames", "-z", base, "--")
    found += _git(root, "ls-files", "--others", "--exclude-standard", "-z")
    return [root / name for name in found.split("\0") if name]


def _git(folder: Path, *words: str, remedy: str = "") -> str:
    """Return what git says of a checkout; where it refuses, the remedy is told."""
    command: Sequence[str] = ("git", "-C", str(folder), *words)
    try:
        return subprocess.run(command, capture_output=True, check=True, text=True, errors="surrogateescape").stdout
    except FileNotFoundError as error:
        raise CannotHereError("There is no git here.", remedy="Install git.") from error
    except subprocess.CalledProcessError as error:
        said = error.stderr.strip().removeprefix("fatal: ").rstrip(".")
        raise RecipeError(f"`git {' '.join(words)}` says: {said}.", where=str(folder), remedy=remedy) from error

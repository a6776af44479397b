"""What a watch may propose to change: a recipe's commits, the number of its build, and the versions of packages.

A watch runs libraries that nobody reviewed, so what it left may be anything. A change is taken where each line that
differs is one of these and nothing else, and where it is of a file that is there already.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from difflib import SequenceMatcher
from pathlib import Path
from typing import Final

from github import UntrustedError

LARGEST: Final = 1 << 20  # bytes of a file
RECIPE: Final = re.compile(r"recipes/(?:[\w+-][\w.+-]*/)*[\w+-][\w.+-]*\.ya?ml", re.ASCII)
COMMIT: Final = re.compile(r"\b[0-9a-f]{40}\b")
NUMBER: Final = re.compile(r"^(build: )[1-9][0-9]{0,4}(?![0-9])")
ADDED: Final = re.compile(r" *revision: [0-9a-f]{40}\r?|build: [1-9][0-9]{0,4}\r?")
REMARK: Final = re.compile(r"(# .+ million parameters[^;]*); license:? [^;]{0,200}\r?")
PACKAGE: Final = re.compile(r"([A-Za-z0-9][\w.-]*)==([0-9][\w.+-]{0,60})(?: --hash=sha256:[0-9a-f]{64})?", re.ASCII)
BUILD: Final = re.compile(r"^build: ([1-9][0-9]{0,4})(?![0-9])", re.MULTILINE)
NAMED: Final = re.compile(r" *(?:- )?(?:repo|dataset|model): .*")  # behind which a commit is added


def recipe_changed(before: str, after: str) -> bool:
    """Return whether nothing but commits, the number of a build, and the license in the first remark differ."""
    old, new = lines(before), lines(after)
    if old[0] != new[0] and relicensed(old[0], new[0]):
        old, new = old[1:], new[1:]
    if counted(after) not in {counted(before), counted(before) + 1}:
        return False
    for tag, *ends in SequenceMatcher(None, old, new, autojunk=False).get_opcodes():
        gone, come = old[ends[0] : ends[1]], new[ends[2] : ends[3]]
        added = [
            at
            for at in range(ends[2], ends[3])
            if ADDED.fullmatch(new[at]) and masked(new[at]) not in map(masked, gone)
        ]
        if any("revision" in new[at] and not NAMED.fullmatch(new[at - 1].rstrip("\r")) for at in added):
            return False
        pinned = [line for at, line in enumerate(come, ends[2]) if at not in added]
        if tag != "equal" and ([*map(masked, gone)] != [*map(masked, pinned)] or not all(map(names_any, pinned))):
            return False
    return True


def relicensed(before: str, after: str) -> bool:
    """Return whether a remark differs in its license alone, as `publish bump` writes it."""
    old, new = REMARK.fullmatch(before), REMARK.fullmatch(after)
    return bool(old and new and old[1] == new[1]) and after.rstrip("\r").isprintable()


def counted(text: str) -> int:
    """Return the number of a recipe's build, which is 1 unless said; -1 where it is said twice."""
    found = BUILD.findall(text)
    return -1 if len(found) > 1 else int(found[0]) if found else 1


def packages_changed(before: str, after: str) -> bool:
    """Return whether nothing but versions, raised, and digests differ of packages that were all there."""
    old, new = lines(before), lines(after)
    return len(old) == len(new) and all(one == other or raised(one, other) for one, other in zip(old, new, strict=True))


def raised(before: str, after: str) -> bool:
    """Return whether a line names a package of another, and no lower version."""
    old, new = PACKAGE.fullmatch(before), PACKAGE.fullmatch(after)
    if not (old and new and old[1] == new[1] and ("--hash" in before) == ("--hash" in after)):
        return False
    return numbers(new[2]) >= numbers(old[2])


def numbers(version: str) -> list[int]:
    """Return the numbers of a version, without those of its build."""
    return [int(number) for number in re.findall("[0-9]+", version.partition("+")[0])]


def lines(text: str) -> list[str]:
    """Return the lines of a text; only a line feed ends one, as it is for YAML's readers and pip's."""
    return (text if text.endswith("\n") else f"{text}\n").split("\n")


def masked(line: str) -> str:
    """Return a line without the commits and the number in it."""
    return COMMIT.sub("COMMIT", NUMBER.sub(r"\1NUMBER", line))


def names_any(line: str) -> bool:
    """Return whether a line has a commit or the number of a build."""
    return masked(line) != line


CHANGES: Final[dict[str, Callable[[str, str], bool]]] = {
    "constraints.txt": packages_changed,
    "requirements-publish.txt": packages_changed,
}


def changes_in(folder: Path, checkout: Path) -> dict[str, str]:
    """Return the files that a folder has otherwise than a checkout, by their paths there.

    Where a list of versions is of other packages than are there, or of lower versions, all such lists are left out:
    that is for people.

    Raises:
        UntrustedError: It has others than recipes and such lists, or changes more in a recipe than it may.
    """
    found: dict[str, str] = {}
    lists, unfit = set[str](), set[str]()
    for path in files_in(folder, most=8):
        name = path.relative_to(folder).as_posix()
        change = recipe_changed if RECIPE.fullmatch(name) else CHANGES.get(name)
        there = checkout / name
        if change is None or not there.is_file() or there.resolve() != checkout.resolve() / name:
            raise UntrustedError(f"a change of {name!r}")
        before, after = (text_in(place) for place in (there, path))
        lists |= {name} & CHANGES.keys()
        allowed = change(before, after)
        if not allowed and name not in CHANGES:
            raise UntrustedError(f"a change of more than pins in {name!r}")
        if not allowed:
            unfit.add(name)
        elif before != after:
            found[name] = after
    if lists and not found.keys() - lists:
        raise UntrustedError(f"{sorted(lists)} without a recipe, in {folder.name!r}")
    whole = lists == CHANGES.keys() and not unfit  # one without the other would be installed by nobody
    return {name: after for name, after in found.items() if whole or name not in CHANGES}


def files_in(folder: Path, most: int) -> Iterable[Path]:
    """Return the files below a folder.

    Raises:
        UntrustedError: There are more, or there is something that is neither a file nor a folder.
    """
    inner = sorted(folder.rglob("*"))
    if len(inner) > most or any(path.is_symlink() or not (path.is_file() or path.is_dir()) for path in inner):
        raise UntrustedError(f"more than {most} files, or others than files, in {folder.name!r}")
    return [path for path in inner if path.is_file()]


def text_in(path: Path) -> str:
    """Return the text of a file, line ends and all.

    Raises:
        UntrustedError: It is none, or too large.
    """
    with path.open("rb") as file:
        content = file.read(LARGEST + 1)
    try:
        text = content.decode()
    except UnicodeDecodeError as error:
        raise UntrustedError(f"no text: {path.name!r}") from error
    if len(content) > LARGEST:
        raise UntrustedError(f"more than {LARGEST} bytes: {path.name!r}")
    return text

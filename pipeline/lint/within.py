"""Within: one model of a place, or one folder of it, with what belongs to that model."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Final

from pipeline.errors import SourceError
from pipeline.files import ListedFile
from pipeline.lint.contents import CONTAINERS, SHARD
from pipeline.source.layout import INDEX, Folder, Place
from pipeline.source.strict import read_index

CONFIGURATIONS: Final = ("config.json", "hf_quant_config.json")
SHOWN: Final = 5  # files


def beside(path: Path) -> Folder:
    """Return the folder of a file of this machine with no more than the files that lie beside it.

    Raises:
        SourceError: It is no file.
    """
    if not path.is_file():
        raise SourceError("It is neither a file nor a folder.", where=str(path), remedy="Correct its name.")
    return Folder(path.parent, only=[one.name for one in path.parent.iterdir() if one.is_file()])


@dataclass(frozen=True)
class Within:
    """A part of a place; satisfies `pipeline.source.layout.Place`.

    Attributes:
        place: The place.
        path: A folder or a file in it.
    """

    place: Place
    path: str

    @cached_property
    def folder(self) -> str:
        """What stands before the names of its files."""
        above = self.path.rpartition("/")[0] if self.path in self.place.files else self.path
        return f"{above}/" if above else ""

    @property
    def where(self) -> str:
        """How it is named in messages."""
        return f"{self.place.where}/{self.folder}".rstrip("/")

    @cached_property
    def files(self) -> Mapping[str, ListedFile]:
        """Every file by its path from the folder; of a file, those that belong to its model.

        Raises:
            SourceError: There is no such file or folder, or an index cannot be read.
        """
        inside = {
            name.removeprefix(self.folder): file
            for name, file in self.place.files.items()
            if name.startswith(self.folder)
        }
        if not inside:
            models = [name for name in sorted(self.place.files) if name[name.rfind(".") :] in CONTAINERS]
            more = f" and {len(models) - SHOWN} more" if len(models) > SHOWN else ""
            remedy = f"It has {', '.join(models[:SHOWN])}{more}." if models else "Correct its name."
            raise SourceError(f"There is no file or folder {self.path!r} in it.", where=self.place.where, remedy=remedy)
        if self.path not in self.place.files:
            return inside
        kept = {*self._belonging(self.path.removeprefix(self.folder), inside), *CONFIGURATIONS}
        return {name: file for name, file in inside.items() if name in kept}

    def _belonging(self, name: str, names: Iterable[str]) -> set[str]:
        """Return the files of a file's model: its shards, and their index."""
        found = {name}
        if shard := SHARD.fullmatch(name):
            alike = {other for other in names if (match := SHARD.fullmatch(other)) and match["stem"] == shard["stem"]}
            found |= alike | {f"{shard['stem']}{INDEX}"}
        elif name.endswith(INDEX):
            found |= set(read_index(self.read(name, 0, self.place.files[f"{self.folder}{name}"].size), name).values())
        return found

    def read(self, name: str, offset: int, length: int) -> bytes:
        """Read a range of a file; fewer bytes at its end."""
        return self.place.read(f"{self.folder}{name}", offset, length)

    def read_large(self, name: str, offset: int, length: int, block: memoryview) -> bytes | memoryview:
        """Read a range that nobody will read again."""
        return self.place.read_large(f"{self.folder}{name}", offset, length, block)

    def listed(self, names: Iterable[str]) -> dict[str, ListedFile]:
        """Return some of its files with the digests by which the place vouches for them."""
        found = self.place.listed([f"{self.folder}{name}" for name in names])
        return {name.removeprefix(self.folder): file for name, file in found.items()}

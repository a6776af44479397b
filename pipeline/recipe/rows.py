"""Reads the prompts of a dataset with ``datasets``; run as a process of its own by `pipeline.stages.prompts`.

``datasets`` is asked about a folder, never about the Hub. It takes the Hub's address from the environment once, when
it is imported, and here there may be two Hubs; it gives up sooner than we do and proves no digest; and it opens
whatever a dataset's card names, at any address and anywhere on this disk. So the files come by our own client, and
this process first says which of a folder's empty files it would read, and then reads them once they are filled.
"""

from __future__ import annotations

import heapq
import json
import sys
from collections.abc import Iterable, Iterator
from hashlib import sha256
from itertools import islice
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any, Final, Literal

from pydantic import BaseModel, ConfigDict

from pipeline.recipe.problems import listed, nearest
from pipeline.recipe.prompts import LARGEST
from pipeline.recipe.schema import MOST_PROMPTS, DatasetPrompts

if TYPE_CHECKING:
    from datasets import DatasetBuilder

Row = tuple[int, str, str | None]
"""A row's number from 0, its text, and its label where one is asked for."""

# Of what ``datasets`` reads these are tables and nothing but data; a pickle is a program.
TABLES: Final = (".parquet", ".arrow", ".jsonl", ".ndjson", ".json", ".csv", ".tsv", ".txt")
PACKED: Final = (".gz", ".bz2", ".xz", ".zst", ".lz4")
ANOTHER: Final = "Choose another dataset, or put its prompts into a file beside the recipe."


class Job(BaseModel):
    """What is asked of this process.

    Attributes:
        step: Which files of the folder would be read, or the prompts in them.
        folder: The dataset's repository, with the files that are not wanted yet left empty.
        asked: The clause of the recipe.
    """

    model_config = ConfigDict(frozen=True)

    step: Literal["files", "rows"]
    folder: str
    asked: DatasetPrompts


class Refusal(Exception):  # noqa: N818 - it is an answer
    """Why there are no prompts: whose fault it is, what is wrong and what to do."""

    def __init__(self, kind: str, what: str, remedy: str) -> None:
        super().__init__(what)
        self.kind, self.what, self.remedy = kind, what, remedy


def files(job: Job) -> dict[str, Any]:
    """Return the names in the folder of the files that have the split's rows."""
    found = [name_in(job.folder, file) for file in opened(job).config.data_files[job.asked.split]]
    strange = [name for name in found if table_suffix(name) not in TABLES]
    if strange:
        what = f"The split is in files that are no tables of texts, such as {strange[0]!r}."
        raise Refusal("recipe", what, f"Tables are {listed(TABLES)}. {ANOTHER}")
    return {"files": found}


def rows(job: Job) -> dict[str, Any]:
    """Return the chosen prompts in the dataset's order, how many rows there are, and how many repeat an earlier one."""
    asked, builder = job.asked, opened(job)
    # The other splits' files are empty here, and some formats look into the first file of each.
    builder.config.data_files = type(builder.config.data_files)({asked.split: builder.config.data_files[asked.split]})
    texts = Texts(asked, read_columns(builder, asked))
    chosen = choose(asked, texts)
    refuse_unfit(asked, chosen)
    prompts = [{"prompt": text, "label": label} for _, text, label in chosen]
    return {"prompts": prompts, "rows": texts.rows, "repeated": texts.rows - len(texts.seen)}


def opened(job: Job) -> DatasetBuilder:
    """Return what reads the configuration that is asked for.

    Raises:
        Refusal: There is no such configuration or split.
    """
    from datasets import get_dataset_config_names, get_dataset_default_config_name, load_dataset_builder

    asked = job.asked
    configs = get_dataset_config_names(job.folder)
    if asked.config is None and get_dataset_default_config_name(job.folder) is None:
        what = "The dataset has no default configuration."
        raise Refusal("recipe", what, f"Write one with 'config:': it has {listed(configs, 'and')}.")
    if asked.config is not None:
        require_known("configuration", asked.config, configs)
    builder = load_dataset_builder(job.folder, name=asked.config)
    require_known("split", asked.split, list(builder.config.data_files))
    return builder


def require_known(kind: str, name: str, known: list[str]) -> None:
    """Refuse a name that the dataset does not have."""
    if name not in known:
        meant = nearest(name, known)
        remedy = f"Did you mean {meant!r}? " if meant else ""
        raise Refusal("recipe", f"The dataset has no {kind} {name!r}.", f"{remedy}It has {listed(known, 'and')}.")


def name_in(folder: str, file: str) -> str:
    """Return a file's name in the folder.

    Raises:
        Refusal: The dataset's card names something else, which would become prompts that are published.
    """
    try:
        return PurePath(file).relative_to(folder).as_posix()
    except ValueError:
        what = f"Its card names the data file {file!r}, which is none of its repository's."
        raise Refusal("source", what, f"Do not trust this dataset. {ANOTHER}") from None


def table_suffix(name: str) -> str:
    """Return what kind of table a file's name says it is."""
    path = PurePath(name.lower())
    return PurePath(path.stem).suffix if path.suffix in PACKED else path.suffix


def read_columns(builder: DatasetBuilder, asked: DatasetPrompts) -> Iterator[tuple[Any, Any]]:
    """Yield each row's text and label.

    Raises:
        Refusal: There is no such column, or no row at all.
    """
    from datasets import ClassLabel

    stream = builder.as_streaming_dataset(split=asked.split)
    columns = stream.column_names or list(next(iter(stream), {}))
    if not columns:
        raise Refusal("recipe", "The split has no rows.", "Choose another split.")
    wanted = [name for name in (asked.column, asked.label) if name]
    for name in wanted:
        require_known("column", name, columns)
    if stream.features is not None:  # pictures and sounds beside the texts are left as they are
        stream = stream.select_columns(wanted).decode(enable=False)
    kind: Any = (stream.features or {}).get(asked.label)
    for row in stream:
        label = row.get(asked.label)
        if isinstance(kind, ClassLabel) and label is not None and label >= 0:  # -1 where there is none
            label = kind.int2str(label)
        yield row.get(asked.column), label


class Texts:
    """The rows that no earlier row repeats, counted while they are read.

    A prompt that is there twice would make the same images again, and the bounds of the verdict, which are drawn from
    whole prompts, narrower than what was seen. A file's author is told of it; a dataset has other authors.
    """

    def __init__(self, asked: DatasetPrompts, columns: Iterable[tuple[Any, Any]]) -> None:
        self.asked = asked
        self.columns = columns
        self.rows = 0
        self.seen: set[bytes] = set()

    def __iter__(self) -> Iterator[Row]:
        for number, (text, label) in enumerate(self.columns):
            row = number, as_text(number, self.asked.column, text), as_text(number, self.asked.label or "", label)
            self.rows += 1
            digest = sha256(row[1].encode()).digest()
            if digest not in self.seen:
                self.seen.add(digest)
                yield row[0], row[1], row[2] if self.asked.label else None


def as_text(number: int, column: str, value: Any) -> str:
    """Return a value of a column of texts; nothing is the empty text.

    Raises:
        Refusal: It is something else.
    """
    if value is None or isinstance(value, str):
        return value or ""
    what = f"The column {column!r} has no texts: row {number} has {type(value).__name__} {str(value)[:40]!r}."
    raise Refusal("recipe", what, "Choose a column of texts.")


def choose(asked: DatasetPrompts, texts: Iterable[Row]) -> list[Row]:
    """Return all rows, or as many as are asked for: those whose number and the seed have the lowest digests.

    So a sample depends on nothing but the recipe: no generator of random numbers, and no version of anything.
    """
    if asked.sample is None:
        chosen = list(islice(texts, MOST_PROMPTS + 1))
        if len(chosen) > MOST_PROMPTS:
            what = f"There are more than {MOST_PROMPTS} prompts, each to be drawn with every seed."
            raise Refusal("recipe", what, "Say with 'sample:' how many are chosen.")
        return chosen
    lowest = heapq.nsmallest(asked.sample, texts, key=lambda row: sha256(f"{asked.seed}:{row[0]}".encode()).digest())
    if len(lowest) < asked.sample:
        what = f"A sample of {asked.sample} is asked for, and there are {len(lowest)} different prompts."
        raise Refusal("recipe", what, f"Write a 'sample:' of at most {len(lowest)}.")
    return sorted(lowest)


def refuse_unfit(asked: DatasetPrompts, chosen: list[Row]) -> None:
    """Refuse texts and labels that are empty, and more text than a file of prompts may have."""
    other = "Choose another column" + (", or another 'seed:'." if asked.sample else ", or a 'sample:' without it.")
    for number, text, label in chosen:
        for column, value in ((asked.column, text), (asked.label, label)):
            if value is not None and not value.strip():
                raise Refusal("recipe", f"The column {column!r} of row {number} is empty.", other)
    if sum(len(text) for _, text, _ in chosen) > LARGEST:
        raise Refusal("recipe", f"The prompts are longer than {LARGEST >> 20} MiB.", other)


STEPS: Final = {"files": files, "rows": rows}


def say(job: Job) -> dict[str, Any]:
    """Return the answer, or why there is none, as JSON."""
    try:
        return STEPS[job.step](job)
    except Refusal as refusal:
        return {"error": refusal.kind, "what": refusal.what, "remedy": refusal.remedy}
    except ImportError as error:
        remedy = "Install it anew: pip install --force-reinstall 'quantpress[datasets]'."
        return {"error": "environment", "what": f"datasets cannot be imported: {error}.", "remedy": remedy}
    except Exception as error:  # the library's own, of any class
        reason = (str(error).strip().splitlines() or ["no reason given"])[0].rstrip(".:")
        what = f"datasets cannot read it: {type(error).__name__}: {reason}."
        return {"error": "source", "what": what, "remedy": ANOTHER}


def main() -> None:
    """Do the job on stdin; the answer is the last line of stdout."""
    job = Job.model_validate_json(sys.stdin.read())
    said = say(job.model_copy(update={"folder": str(Path(job.folder).resolve())}))
    sys.stdout.write(f"\n{json.dumps(said)}\n")


if __name__ == "__main__":
    main()

"""Reads the prompts of a dataset with ``datasets``; run as a process of its own by `pipeline.validate.prompts`.

``datasets`` is asked about a folder, never about the Hub. It takes the Hub's address from the environment once, when
it is imported, and here there may be two Hubs; it gives up sooner than we do and proves no digest; and it opens
whatever a dataset's card names, at any address and anywhere on this disk. So the files come by our own client, and
this process first says which of a folder's empty files it would read, and then reads them once they are filled.
"""

from __future__ import annotations

from collections.abc import Iterator
from os.path import normpath
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any, Final, Literal

from pydantic import BaseModel, ConfigDict

from pipeline.recipe.problems import listed, nearest
from pipeline.recipe.sample import Row, Texts, choose, refuse_unfit
from pipeline.recipe.schema import DatasetPrompts
from pipeline.worker.child import WorkerError, first_line, serve

if TYPE_CHECKING:
    from datasets import DatasetBuilder

ROWS_AT_ONCE: Final = 64
ANOTHER: Final = "Choose another dataset, or put its prompts into a file beside the recipe."


class Job(BaseModel):
    """What is asked of this process.

    Attributes:
        step: Which files of the folder would be read, or the prompts in them.
        folder: The dataset's tables, those that are not wanted yet left empty, and what describes them.
        beside: Where the prompts' further files are written.
        asked: The clause of the recipe.
        exact: Whether a label is all that an answer says, which may be nothing; one that is null nobody knows.
    """

    model_config = ConfigDict(frozen=True)

    step: Literal["files", "rows"]
    folder: str
    beside: str
    asked: DatasetPrompts
    exact: bool = False


def files(job: Job) -> dict[str, Any]:
    """Return the names in the folder of the files that have the split's rows."""
    return {"files": [name_in(job.folder, file) for file in opened(job).config.data_files[job.asked.split]]}


def rows(job: Job) -> dict[str, Any]:
    """Return the chosen prompts in the dataset's order, how many rows there are, and how many repeat an earlier one.

    Their further files are written, each named after its SHA-256.
    """
    asked, builder = job.asked, opened(job)
    # The other splits' files are empty here, and some formats look into the first file of each.
    builder.config.data_files = type(builder.config.data_files)({asked.split: builder.config.data_files[asked.split]})
    if hasattr(builder.config, "batch_size"):  # else of Parquet a whole row group, which are all pictures of a shard
        builder.config.batch_size = ROWS_AT_ONCE
    texts = Texts(asked, read_columns(builder, asked), exact=job.exact)
    chosen = choose(asked, texts)
    if not texts.rows:
        raise WorkerError("recipe", "The split has no rows.", "Choose another split.")
    refuse_unfit(asked, chosen, exact=job.exact)
    prompts = [{"prompt": row.text, "label": row.label, "files": written(row, job.beside)} for row in chosen]
    return {"prompts": prompts, "rows": texts.rows, "repeated": texts.rows - len(texts.seen)}


def written(row: Row, folder: str) -> dict[str, str]:
    """Write the further files of a row, and return their names by their roles."""
    names = {}
    for role, file in row.files.items():
        names[role] = f"{file.sha256}{file.suffix}"
        Path(folder, names[role]).write_bytes(file.content)
    return names


def opened(job: Job) -> DatasetBuilder:
    """Return what reads the configuration that is asked for.

    Raises:
        WorkerError: There is no such configuration or split.
    """
    from datasets import get_dataset_config_names, get_dataset_default_config_name, load_dataset_builder

    asked = job.asked
    configs = get_dataset_config_names(job.folder)
    if asked.config is None and get_dataset_default_config_name(job.folder) is None:
        what = "The dataset has no default configuration."
        raise WorkerError("recipe", what, f"Write one with 'config:': it has {listed(configs, 'and')}.")
    if asked.config is not None:
        require_known("configuration", asked.config, configs)
    builder = load_dataset_builder(job.folder, name=asked.config)
    require_known("split", asked.split, [str(split) for split in builder.config.data_files])
    return builder


def require_known(kind: str, name: str, known: list[str]) -> None:
    """Refuse a name that the dataset does not have."""
    if name not in known:
        meant = nearest(name, known)
        remedy = f"Did you mean {meant!r}? " if meant else ""
        raise WorkerError("recipe", f"The dataset has no {kind} {name!r}.", f"{remedy}It has {listed(known, 'and')}.")


def name_in(folder: str, file: str) -> str:
    """Return a file's name in the folder.

    Raises:
        WorkerError: The dataset's card names something else, which would become prompts that are published.
    """
    try:
        return PurePath(normpath(file)).relative_to(folder).as_posix()
    except ValueError:
        what = f"Its card names the data file {file!r}, which is none of its repository's."
        raise WorkerError("source", what, f"Do not trust this dataset. {ANOTHER}") from None


def read_columns(builder: DatasetBuilder, asked: DatasetPrompts) -> Iterator[dict[str, Any]]:
    """Yield each row's values in the columns that are asked for.

    Raises:
        WorkerError: There is no such column.
    """
    from datasets import ClassLabel

    stream = builder.as_streaming_dataset(split=asked.split)
    columns = stream.column_names or list(next(iter(stream), {}))
    wanted = list(dict.fromkeys(name for name in (asked.column, asked.label, *asked.files.values()) if name))
    for name in wanted if columns else ():  # a table without types and rows has none
        require_known("column", name, columns)
    if stream.features is not None:  # pictures and sounds stay the bytes that they are
        stream = stream.select_columns(wanted).decode(enable=False)
    kind: Any = (stream.features or {}).get(asked.label)
    for row in stream:
        number = row.get(asked.label)
        named = isinstance(kind, ClassLabel) and number is not None and number >= 0  # -1 where there is none
        yield row | {asked.label: kind.int2str(number)} if named else row


STEPS: Final = {"files": files, "rows": rows}


def say(job: Job) -> dict[str, Any]:
    """Return the answer, or why there is none."""
    try:
        return STEPS[job.step](job)
    except WorkerError as refusal:
        return refusal.said
    except ImportError as error:
        what = f"datasets lacks a library to read it with: {first_line(error)}"
        return WorkerError("environment", what, f"Install that one. {ANOTHER}").said
    except Exception as error:  # the library's own, of any class
        what = f"datasets cannot read it: {type(error).__name__}: {first_line(error)}"
        return WorkerError("source", what, ANOTHER).said


if __name__ == "__main__":
    serve(lambda job, _: say(Job.model_validate_json(job)))

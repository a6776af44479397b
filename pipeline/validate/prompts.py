"""Prompts: those of the recipe's file, or of a column of a dataset on the Hub at its commit."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Final

from pipeline.backends.available import installed
from pipeline.errors import CannotHereError, RecipeError, SourceError
from pipeline.events import Listener
from pipeline.files import copy, digest_of, emptied, human_size, link_or_copy, pretty_json, safe_listing, sha256_file
from pipeline.hub.source import Repository
from pipeline.plan.parts import PlannedDataset, PlannedPrompts
from pipeline.plan.questions import FILES, files_key, questions_folder
from pipeline.recipe import DatasetPrompts, Loaded, Prompt, rows, sample
from pipeline.recipe.prompts import read_pinned
from pipeline.source.fetch import fetch
from pipeline.store import Store
from pipeline.tasks import TASKS, Task
from pipeline.worker.child import first_line
from pipeline.worker.session import WorkerDiedError, ask_worker, error_of

STAGE: Final = "prompts"
PROMPTS: Final = "prompts.json"
DESCRIBING: Final = ("README.md", ".huggingface.yaml", "dataset_infos.json")  # where a dataset tells of its files
# Of what datasets reads, tables are what holds texts, and nothing but data: a pickle is a program. It never sees the
# other files, so that what is a folder of pictures to it otherwise is the table of their captions here.
TABLE: Final = re.compile(r"\.(parquet|arrow|jsonl|ndjson|json|csv|tsv|txt)(\.(gz|bz2|xz|zst|lz4))?$", re.IGNORECASE)
LARGEST_SPLIT: Final = 2 << 30  # bytes; a million prompts take a tenth of it
# Nothing is fetched while rows are read, and no tensor is made of them.
QUIETLY: Final = {
    "HF_DATASETS_OFFLINE": "1",
    "HF_DATASETS_DISABLE_PROGRESS_BARS": "1",
    "USE_TORCH": "0",
    "USE_TF": "0",
    "USE_JAX": "0",
}
Find = Callable[[str, str], Repository]


def ask_prompts(loaded: Loaded, find: Find, store: Store, listen: Listener) -> PlannedPrompts:
    """Return the prompts that a recipe asks.

    Args:
        loaded: The recipe.
        find: Returns a dataset's repository at a commit.
        store: Where the prompts of datasets are kept; those that are there are not fetched again.
        listen: Hears of progress in bytes.

    Raises:
        RecipeError: There is no such file, split or column, it has no texts, or they are private and would be public.
        CannotHereError: ``datasets`` is not installed.
        SourceError: The dataset is not there, or cannot be read.
        HubUnavailableError: The Hub does not answer.
    """
    asked, task = loaded.recipe.validation.prompts, TASKS[loaded.recipe.task]
    public = not loaded.recipe.destination.private
    if isinstance(asked, str):
        prompts, files = read_pinned(loaded.resolve(asked), task.form)
        planned = PlannedPrompts(prompts=prompts)
        keep_files(task, planned, files, store)
        return planned
    exact = task.form.exact
    key = prompts_key(asked, public=public, exact=exact)

    def build(folder: Path) -> None:
        draw(asked, repository(asked, find, public=public), store, folder, listen, exact=exact)

    kept = store.make(STAGE, key, build)
    planned = PlannedPrompts.model_validate_json((kept / PROMPTS).read_bytes())
    keep_files(task, planned, {path.name: path for path in (kept / FILES).iterdir()}, store, asked.where)
    return planned


def keep_files(task: Task, planned: PlannedPrompts, files: Mapping[str, Path], store: Store, column: str = "") -> None:
    """Keep the further files of some questions under their pinned names, so that they are the same all along.

    Args:
        task: What opens them.
        planned: The questions.
        files: Where they lie by their names.
        store: Where they are kept.
        column: The column of a dataset that they come from, which has them in the store already.

    Raises:
        RecipeError: One cannot be opened.
        SourceError: One changed while it was read.
    """

    def build(folder: Path) -> None:
        for name, place in files.items():
            (link_or_copy if column else copy)(place, folder / name)
            if not name.startswith(sha256_file(folder / name)):
                raise SourceError("This file changed while it was read.", where=str(place), remedy="Run again.")
            try:
                task.open_file(folder / name)
            except Exception as error:  # of a library, of any class
                prompt = next(one.prompt for one in planned.prompts if name in one.files.values())
                what = f"The file that is asked with {prompt!r} cannot be opened: {first_line(error)}"
                remedy = "Choose another column, or another sample." if column else "Name another file in the prompts."
                raise RecipeError(what, where=column or str(place), remedy=remedy) from error

    if files:
        store.make(FILES, files_key(planned), build)


def clips_of(planned: PlannedPrompts, store: Store) -> dict[int, Path]:
    """Return the clips that some questions ask, by the numbers of those."""
    folder, asked = questions_folder(planned, store), enumerate(planned.prompts)
    return {number: folder / one.files["audio"] for number, one in asked if "audio" in one.files} if folder else {}


def prompts_key(asked: DatasetPrompts, *, public: bool, exact: bool) -> str:
    """Return the digest of what the prompts of a dataset depend on: what is asked, and how rows are read and drawn.

    What was drawn to be published was public then; what was drawn for a private repository may not have been.
    """
    readers = [sha256_file(Path(str(module.__file__))) for module in (rows, sample)]
    return digest_of([asked.model_dump(mode="json"), readers, public, exact])


def repository(asked: DatasetPrompts, find: Find, *, public: bool) -> Repository:
    """Return where a dataset lies; what would become ``public`` must be so already."""
    if not installed("datasets"):
        remedy = "Install it with pip install 'quantpress[datasets]'."
        what = "Prompts of a dataset need the library datasets, which is not installed."
        raise CannotHereError(what, where=asked.where, remedy=remedy)
    place = find(asked.dataset, asked.revision)
    if public and place.private:
        what = "The dataset is private, and a release would publish its prompts and their files."
        remedy = "Write `destination: {private: true}`, or take a public dataset."
        raise RecipeError(what, where=asked.where, remedy=remedy)
    return place


def draw(
    asked: DatasetPrompts, place: Repository, store: Store, folder: Path, listen: Listener, *, exact: bool
) -> None:
    """Put the prompts of a dataset into a folder; the label of an ``exact`` one may be empty."""
    describing = [name for name in DESCRIBING if name in place.files]
    names = {*describing, *tables(place.files, asked)}
    safe_listing(names, place.where)

    def ask(step: str, wanted: Iterable[str]) -> dict[str, Any]:
        files = {name: place.files[name] for name in wanted}
        with emptied(folder / "reading") as scratch:
            spread(names, fetch(place, files, store, listen), scratch / "dataset")
            return ask_datasets(step, asked, scratch, folder / FILES, exact=exact)

    (folder / FILES).mkdir()
    wanted = ask("files", describing)["files"]
    refuse_large(asked, sum(place.files[name].size for name in wanted))
    drawn = ask("rows", {*describing, *wanted})
    planned = PlannedPrompts(
        prompts=tuple(Prompt(**prompt) for prompt in drawn["prompts"]),
        dataset=PlannedDataset(**asked.model_dump(), rows=drawn["rows"], repeated=drawn["repeated"]),
    )
    (folder / PROMPTS).write_bytes(pretty_json(planned.model_dump(mode="json")))


def tables(names: Iterable[str], asked: DatasetPrompts) -> list[str]:
    """Return the files that are tables by their names.

    Raises:
        RecipeError: There is none.
    """
    found = [name for name in names if TABLE.search(name)]
    if not found:
        what = "The dataset has no table: no Parquet, Arrow, JSON, CSV or plain text."
        raise RecipeError(what, where=asked.where, remedy="Choose another dataset.")
    return found


def spread(names: Iterable[str], fetched: Path, folder: Path) -> None:
    """Fill a folder with the files of a repository: those that were fetched, and the others empty."""
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if (fetched / name).is_file():
            link_or_copy(fetched / name, path)
        else:
            path.touch()


def refuse_large(asked: DatasetPrompts, size: int) -> None:
    """Refuse a split that is more than texts.

    Raises:
        RecipeError: Its files are too large.
    """
    if size > LARGEST_SPLIT:
        what = f"The files of this split have {human_size(size)}, and at most {human_size(LARGEST_SPLIT)} are read."
        raise RecipeError(what, where=asked.where, remedy="Choose a dataset of the prompts alone.")


def ask_datasets(step: str, asked: DatasetPrompts, scratch: Path, beside: Path, *, exact: bool) -> dict[str, Any]:
    """Ask ``datasets`` about the folder ``dataset`` in a process of its own, and return its answer.

    Further files of prompts are written to the folder ``beside``.

    Raises:
        PublishError: There is none.
    """
    folder = str((scratch / "dataset").resolve())
    job = rows.Job(step=step, folder=folder, beside=str(beside), asked=asked, exact=exact)  # type: ignore[arg-type]
    caches = dict.fromkeys(("HF_HOME", "HF_DATASETS_CACHE", "HF_MODULES_CACHE"), str(scratch / "cache"))
    try:
        (said,) = ask_worker("pipeline.recipe.rows", [job.model_dump_json()], QUIETLY | caches)
    except WorkerDiedError as error:
        remedy = "Put its prompts into a file beside the recipe."
        raise SourceError(f"datasets did not read it: {error}.", where=asked.where, remedy=remedy) from error
    if "error" in said:
        raise error_of(said, asked.where)
    return said

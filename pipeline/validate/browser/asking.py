"""Asks in a browser: what of a folder a page can load, and what it answered."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from pydantic import BaseModel, ConfigDict

from pipeline.events import Listener
from pipeline.files import disk_errors, empty, pretty_json, write_atomically
from pipeline.tasks import TASKS
from pipeline.tasks.answers import Answer, Request
from pipeline.validate.browser.driving import browser_of_this_machine
from pipeline.validate.generate import LOG, ask_consumer, progress

GRAPHS: Final = "onnx"  # the folder of graphs in a repository
MODEL: Final = "model"  # the graph of a model that has one
TRIED: Final = "tried.json"
HUNG: Final = 1800.0  # seconds without an answer, of which loading may take minutes
CONSUMER: Final = "pipeline.validate.browser.consumer"
# The endings by which transformers.js finds the weights of a dtype (4.3.2, src/utils/dtypes.js).
ENDINGS: Final = {
    "_quantized": "q8",
    "_int8": "int8",
    "_uint8": "uint8",
    "_fp16": "fp16",
    "_q4f16": "q4f16",
    "_q4": "q4",
    "_bnb4": "bnb4",
}


class TriedInBrowser(BaseModel):
    """What a browser did with a model.

    Attributes:
        browser: Its name and version.
        settings: With what the page loaded it.
        given: Its answers, with the first seed.
        failure: What the page raised; empty where it did not.
        numbers: ``load_seconds``, ``seconds_per_question`` (the median of all but the first), ``questions``,
            ``threads``, and ``peak_memory_bytes`` of the process that renders the page, those of them that are known.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    browser: str
    settings: dict[str, Any]
    given: tuple[Answer, ...] = ()
    failure: str = ""
    numbers: dict[str, float] = {}


def answers_in_browser(request: Request, folder: Path) -> bool:
    """Return whether a page can ask a folder's model this at all."""
    return TASKS[request.task].page is not None and any((folder / GRAPHS).glob("*.onnx"))


def settings_of(folder: Path) -> dict[str, Any]:
    """Return with what a page calls ``pipeline``, beside task and repository, to load the graphs of a folder."""
    found = dict(_named(path.stem) for path in sorted((folder / GRAPHS).glob("*.onnx")))
    words = set(found.values())
    settings: dict[str, Any] = {"dtype": words.pop() if len(words) == 1 else found}
    if len(found) == 1 and MODEL not in found:
        settings["model_file_name"] = next(iter(found))
    if any((folder / GRAPHS).glob("*.onnx_data")):
        settings["use_external_data_format"] = True
    return settings


def ask_in_browser(  # noqa: PLR0913, PLR0917 - what is asked, with what, and where it is kept
    model: Path, repository: str, request: Request, scripts: Path, out: Path, listener: Listener, hub: str = ""
) -> TriedInBrowser:
    """Have a browser load a model and ask it every question, with the first seed.

    Args:
        model: The model's folder.
        repository: The repository that it is, or is to be.
        request: What is asked.
        scripts: The folder of `pipeline.validate.browser.scripts`.
        out: A folder for the answers; what it holds is dropped.
        listener: Hears of every answer.
        hub: The address of a Hub that has the repository; the folder is served as one would where it is empty.

    Raises:
        CannotHereError: There is no browser, nothing that drives it, or too little memory.
        GenerationError: The browser itself broke.
    """
    browser_of_this_machine()
    tell = progress(listener, "validate", "browser", request)
    job = {"repository": repository, "scripts": str(scripts.resolve()), "settings": settings_of(model)}
    job |= {"hub": f"{hub}/" if hub else ""}
    with disk_errors(out):
        out.mkdir(parents=True, exist_ok=True)
        empty(out)
        said = ask_consumer(CONSUMER, model, request, out, job, tell, silence=HUNG)
        tried = TriedInBrowser.model_validate(said)
        if not tried.failure:
            (out / LOG).unlink()
        write_atomically(out / TRIED, pretty_json(tried.model_dump(mode="json")))
    return tried


def run_page(text: str, model: Path, repository: str, request: Request, scripts: Path, out: Path) -> TriedInBrowser:
    """Have a browser show a page until there is a text in its element ``answer``.

    Raises:
        CannotHereError: As `ask_in_browser`.
        GenerationError: As `ask_in_browser`.
    """
    browser_of_this_machine()
    job = {"repository": repository, "scripts": str(scripts.resolve()), "settings": {}, "hub": "", "page": text}
    out.mkdir(parents=True, exist_ok=True)
    said = ask_consumer(CONSUMER, model, request, out, job, lambda _done, _total: None, silence=HUNG)
    (out / LOG).unlink()
    return TriedInBrowser.model_validate(said)


def _named(stem: str) -> tuple[str, str]:
    for ending, dtype in ENDINGS.items():
        if stem.endswith(ending):
            return stem.removesuffix(ending), dtype
    return stem, "fp32"

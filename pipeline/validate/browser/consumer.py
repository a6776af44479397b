"""The process that drives a browser: it has a model's folder and the scripts, asks, and tells its parent.

`pipeline.validate.browser.asking` starts it.
"""

from __future__ import annotations

import json
import traceback
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from statistics import median
from typing import Any

from playwright.sync_api import Error, Page

from pipeline.tasks import TASKS
from pipeline.tasks.answers import Answer, Request
from pipeline.validate.browser.driving import peak_memory, visited
from pipeline.validate.browser.scripts import HUB, MODULE, NETWORK, address_of_questions
from pipeline.validate.browser.serving import script_folders, served
from pipeline.validate.consumer import keep
from pipeline.worker.child import Tell, serve

PAGE = b"<!doctype html><meta charset=utf-8><title>Asks a model</title>"
LOAD = "async (given) => (await import('/ask.js')).load(...given)"
ASK = "async (given) => (await import('/ask.js')).ask(...given)"
THREADS = "async ([module]) => (await import(module)).env.backends.onnx.wasm.numThreads"
POLL = 50  # milliseconds
LONGEST = 400  # characters of what a page raised


def say(text: str, tell: Tell) -> dict[str, Any]:
    """Ask every question, or show a page, and return what came of it; what a page raises is told as ``failure``."""
    job = json.loads(text)
    request, repository, out = Request.model_validate(job["request"]), job["repository"], Path(job["out"])
    shown = "page" in job
    documents = {"index.html": job["page"].encode() if shown else PAGE, "ask.js": script().encode()}
    folders = script_folders(Path(job["scripts"]))
    if request.folder:
        folders[f"hub/{address_of_questions(repository).removeprefix(HUB)}"] = request.folder
    folders[f"hub/{repository}/resolve/main/"] = Path(job["model"])
    with served(documents, folders) as address:
        leads = {HUB: job["hub"] or f"{address}hub/", NETWORK: f"{address}npm/"}
        with visited(address, leads) as (browser, page):
            given: list[Answer] = []
            told: dict[str, Any] = {"browser": f"Chromium {browser.version}", "settings": job["settings"]}
            try:
                if shown:
                    wait_for_answer(page, address)
                else:
                    page.goto(address)
                    seconds = page.evaluate(LOAD, [request.task, repository, job["settings"]])
                    numbers = ask(page, request, repository, out, given, tell) | {"load_seconds": seconds}
                    numbers |= {"threads": page.evaluate(THREADS, [MODULE])}
                    told["numbers"] = numbers | {"peak_memory_bytes": peak_memory(browser)}
            except Error as error:  # the page's own, of any kind: that it cannot is what is to be found out
                traceback.print_exc()
                told["failure"] = words_of(error)
    return told | {"given": [answer.model_dump(mode="json") for answer in given]}


def wait_for_answer(page: Page, address: str) -> None:
    """Show a page until it has an answer.

    Raises:
        Error: It raises something.
    """
    raised: list[Error] = []
    page.on("pageerror", lambda error: raised.append(error))  # noqa: PLW0108 - playwright marks what it is given
    page.goto(address)
    while not page.evaluate("document.querySelector('#answer').textContent"):
        page.wait_for_timeout(POLL)
        if raised:
            raise raised[0]


def ask(page: Page, request: Request, repository: str, out: Path, given: list[Answer], tell: Tell) -> dict[str, float]:
    """Ask every question with the first seed, keep the answers, and return what that took."""
    task, seconds = TASKS[request.task], []
    asking = task.page
    if asking is None:
        raise ValueError(f"No page asks a model of {request.task}.")
    files_at = address_of_questions(repository)
    for index, question in enumerate(request.questions):
        found = page.evaluate(ASK, [*asking.question(question, request.call, files_at)])
        seconds.append(found["seconds"])
        answer = asking.answer(found["answer"])
        given.append(keep(task.medium, answer, index, request.seeds[0], out))
        tell(len(given), len(request.questions))
    return {"questions": len(given), "seconds_per_question": median(seconds[1:] or seconds)}


def script() -> str:
    """Return the module that the page asks with."""
    return (files(__package__) / "ask.js").read_text().replace("MODULE", MODULE)


def words_of(error: Error) -> str:
    """Return the first line of what a page raised."""
    lines: Sequence[str] = str(error.message).removeprefix("Page.evaluate: ").strip().splitlines() or ["an error"]
    return lines[0][:LONGEST]


if __name__ == "__main__":
    serve(say)

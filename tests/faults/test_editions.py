"""Several artifacts of a component in one repository: one commit of all that passed, or none at all."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pipeline.errors import VerdictError
from pipeline.events import Event
from pipeline.files import files_under
from pipeline.run import Outcome
from tests.desk import Desk

REPO = "alice/tiny-files"
FILES = {name: f"transformer/tiny-transformer-{name.upper()}.gguf" for name in ("q5_0", "q8_0")}
BETWEEN = 0.7  # of the source's size: more than it takes with q5_0, less than with q8_0


def target(*schemes: str) -> dict[str, Any]:
    return {"files": {"transformer": [{"backend": "gguf", "scheme": scheme} for scheme in schemes]}}


class Killed(BaseException):
    """A run that was killed."""


@pytest.mark.nightly
def test_one_that_fails_holds_all_and_what_was_asked_is_not_asked_again(desk: Desk) -> None:
    def dies_at_the_second(event: Event) -> None:
        if event.stage == "validate" and "q8_0" in event.subject:
            raise Killed

    recipe = desk.recipe(target("q5_0", "q8_0"), require={"size_ratio": {"max": BETWEEN}})
    with pytest.raises(Killed):
        list(desk.engine(recipe, dies_at_the_second).run(["files"]))
    before = {path: path.stat().st_mtime_ns for path in files_under(desk.home / "store" / "answers")}
    assert before, "the first was asked before"

    refused = desk.refused(recipe, "files")
    assert isinstance(refused, VerdictError)
    assert refused.where == "files+transformer-gguf-q8_0"
    assert not desk.shelf.api.repo_exists(REPO), "nothing is visible of what passed"
    assert {path: path.stat().st_mtime_ns for path in before} == before
    pages = desk.publish("report", recipe, "--target", "files", "--out", "pages")
    assert pages.code == 0, pages.err
    written = {path.name for path in (desk.folder / "pages").iterdir()}
    assert written == {"report-files.html", "report-files+transformer-gguf-q8_0.html"}


@pytest.mark.nightly
def test_a_file_comes_and_goes_with_its_entry(desk: Desk) -> None:
    def released(*schemes: str) -> Outcome:
        heard.clear()
        (ended,) = desk.engine(desk.recipe(target(*schemes)), heard.append).run(["files"])
        assert isinstance(ended, Outcome), ended
        return ended

    def there() -> set[str]:
        return {name for name in desk.shelf.api.list_repo_files(REPO) if name.endswith(".gguf")}

    heard: list[Event] = []
    assert (released("q5_0").tag, there()) == ("v1", {FILES["q5_0"]})
    assert (released("q5_0", "q8_0").tag, there()) == ("v2", {FILES["q5_0"], FILES["q8_0"]})
    asked = {event.subject for event in heard if event.stage == "validate" and event.kind == "progress"}
    assert asked == {"files+transformer-gguf-q8_0"}, "what is there is neither made nor judged again"
    assert released("q5_0", "q8_0").state == "unchanged"
    assert desk.publish("yank", REPO, "v2", "--why", "a test").code == 0
    assert released("q5_0", "q8_0").state == "yanked"
    assert (released("q5_0").tag, there()) == ("v3", {FILES["q5_0"]})


@pytest.mark.nightly
def test_a_file_lies_beside_what_is_loaded_as_a_folder(desk: Desk) -> None:
    both = [{"backend": "bitsandbytes", "scheme": "int8"}, {"backend": "gguf", "scheme": "q8_0"}]
    done = desk.publish("run", desk.recipe({"files": {"transformer": both}}))
    assert done.code == 0, done.err
    verified = desk.publish("verify", REPO, "--rebuild")
    assert verified.code == 0, verified.err
    report = json.loads(Path(desk.shelf.api.hf_hub_download(REPO, "publish/report.json")).read_bytes())
    assert report["verdict"] == report["further"][0]["verdict"] == "PASS"
    assert [*report["further"][0]["weights"]] == ["transformer"]


@pytest.mark.parametrize(
    ("second", "why"),
    [
        ({"backend": "bitsandbytes", "scheme": "nf4"}, "it is the folder itself"),
    ],
)
def test_a_folder_is_refused_beside_a_file(desk: Desk, second: dict[str, str], why: str) -> None:
    recipe = desk.recipe({"files": {"transformer": [{"backend": "gguf", "scheme": "q8_0"}, second]}})
    refused = desk.refused(recipe, "files")
    assert f"{second['backend']} {second['scheme']} of transformer cannot lie beside" in refused.what
    assert why in refused.what

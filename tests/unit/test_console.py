"""One sink: JSON and nothing else for programs, groups and annotations for GitHub, progress for people."""

from __future__ import annotations

import json
import threading
import time

import pytest

from pipeline.cli.console import Console
from pipeline.cli.heartbeat import Heartbeat
from pipeline.errors import SourceError
from pipeline.events import Event

EVENTS = [
    Event("started", "fetch", "one"),
    Event("progress", "fetch", "one", "file", 5, 10, "B"),
    Event("finished", "fetch", "one", seconds=1.5),
    Event("skipped", "run", "two", "is published already"),
    Event("note", "release", "one", "merged [bold]"),
]


def test_programs_get_one_json_value_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    with Console("json") as console:
        for event in EVENTS:
            console.listen(event)
        console.result({"result": 1}, "for people")
        console.error(SourceError("It is gone.", where="a/b", remedy="Look."))
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line.get("event") for line in lines] == ["started", "finished", "skipped", "note", None, None]
    assert lines[-1] == {"error": "a/b: It is gone. Look.", "exit_code": 4}


def test_people_see_what_was_done_and_text_is_never_markup(capsys: pytest.CaptureFixture[str]) -> None:
    with Console("people") as console:
        for event in EVENTS:
            console.listen(event)
        console.result({"result": 1}, "for people")
    shown = capsys.readouterr()
    assert shown.out == "for people\n"
    assert "one fetch 1.5 s" in shown.err
    assert "merged [bold]" in shown.err


def test_where_nobody_sees_bars_a_line_says_what_is_still_at_work() -> None:
    lines = list[str]()
    said = threading.Event()
    heartbeat = Heartbeat(lambda line: (lines.append(line), said.set())[1], every=0.05)

    def line() -> str:
        said.clear()
        assert said.wait(10)
        return lines[-1]

    heartbeat.start()
    try:
        heartbeat.began("one validate")
        assert line().startswith("  one validate, ")
        heartbeat.went("one validate", "3 of 16 answers")
        heartbeat.began("one quantize")
        heartbeat.ended("one quantize")
        heartbeat.went("one validate", "4 of 16 answers")
        assert line().startswith("  one validate: 4 of 16 answers, ")
        heartbeat.ended("one validate")
        count = len(lines)
        time.sleep(0.3)
        assert len(lines) <= count + 1
    finally:
        heartbeat.stop()


def test_github_gets_groups_and_annotations(capsys: pytest.CaptureFixture[str]) -> None:
    with Console("github") as console:
        for event in EVENTS:
            console.listen(event)
        console.error(SourceError("It is gone.", where="a/b"))
    shown = capsys.readouterr().err
    assert "::group::one fetch\n" in shown
    assert "::endgroup::\n" in shown
    assert "::error::a/b: It is gone.\n" in shown


def test_a_log_of_github_obeys_nothing_that_it_was_told(capsys: pytest.CaptureFixture[str]) -> None:
    bad = "::stop-commands::x\n::error::y\r::debug::z and ##[set-env]a"
    console = Console("github")
    for kind in ("started", "failed", "finished", "skipped", "note"):
        console.listen(Event(kind, "run", bad, bad))  # type: ignore[arg-type]
    console.say(bad)
    console.result({}, bad)
    console.table(bad, [bad], [[bad]])
    console.error(SourceError(f"50% of [bold] {bad}"))
    shown = capsys.readouterr()
    lines = [line.strip() for line in (shown.out + shown.err).replace("\r", "\n").splitlines()]
    obeyed = [line.partition("::")[2].partition("::")[0] for line in lines if line.startswith("::")]
    assert obeyed == ["group", "endgroup", "endgroup", "error"]
    assert "::error::50%25 of [bold] ::stop-commands::x%0A" in shown.err
    assert "##[" not in "".join(line for line in lines if not line.startswith("::"))
    console.listen(Event("started", "run", "a[b]"))
    assert capsys.readouterr().err == "::group::a[b] run\n"


@pytest.mark.parametrize("end", ["finished", "failed"])
def test_a_stage_that_ends_takes_all_its_bars_with_it(end: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TTY_COMPATIBLE", "1")  # for others than a terminal nothing is drawn
    console = Console("people")
    console.listen(Event("started", "release", "one"))
    for stage, subject in (("upload", "one"), ("read back", "one"), ("fetch", "acme/tiny"), ("release", "one")):
        console.listen(Event("progress", stage, subject, "", 1, 2, "B"))
    assert len(console._bars.tasks) == 4
    console.listen(Event(end, "release", "one"))  # type: ignore[arg-type]
    assert console._bars.tasks == []

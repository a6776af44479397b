"""What a run leaves for the report of a fault: a log of its own under the home, without tokens, and more on request."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import typer

from pipeline.cli import app, options_of
from pipeline.cli.logs import KEPT
from tests.desk import Desk, Shelf

SITE = "import logging, warnings\nlogging.getLogger('lib').warning('a library warns: %s', {token!r})\n"
TOKEN = "hf_" + "Zz9" * 10
COMMAND: Any = typer.main.get_command(app)


@pytest.fixture
def alone(tmp_path: Path) -> Desk:
    """A user without a Hub, with a library that logs, warns and breaks."""
    site = tmp_path / "site"
    site.mkdir()
    (site / "uvicorn.py").write_text(
        f"{SITE.format(token=TOKEN)}warnings.warn('and is deprecated', FutureWarning)\nraise RuntimeError('broken')\n"
    )
    desk = Desk(tmp_path, Shelf("http://127.0.0.1:9", tmp_path / "hub", "0" * 40), tmp_path / "home")
    desk.extra["PYTHONPATH"] = str(site)
    return desk


def test_a_defect_names_the_log_that_has_all_of_it_but_no_token(alone: Desk) -> None:
    done = alone.publish("serve", "--port", "9")
    assert done.code == 70
    (log,) = (alone.home / "logs").iterdir()
    assert done.error.endswith(f"The same command with --traceback shows where; please report it with {log}.")
    assert "warns" not in done.err
    text = log.read_text()
    for part in (
        "serve --port 9",
        "lib: a library warns: hf_…",
        "and is deprecated",
        "RuntimeError: broken",
        "uvicorn.py",
    ):
        assert part in text
    assert TOKEN not in text


def test_a_password_in_an_address_is_shown_nowhere_and_others_cannot_read_the_log(alone: Desk) -> None:
    for address in ("http://bob:s3cretpw@127.0.0.1:x", "ftp://bob:s3cr@etpw@h"):
        done = alone.publish("--json", "--traceback", "yank", "a/b", "v1", "--why", "x", "--hub", address)
        assert "etpw" not in done.out + done.err
    for log in (alone.home / "logs").iterdir():
        assert "etpw" not in log.read_text()
        assert "://…@" in log.read_text()
        assert log.stat().st_mode & 0o777 == 0o600


def test_on_request_libraries_are_shown_while_they_speak(alone: Desk) -> None:
    done = alone.publish("serve", "--verbose")
    assert "lib: a library warns: hf_…" in done.err
    assert "and is deprecated" in done.err
    assert TOKEN not in done.err


def test_the_oldest_logs_go(alone: Desk) -> None:
    logs = alone.home / "logs"
    logs.mkdir(parents=True)
    for number in range(KEPT + 5):
        (logs / f"20200101T0000{number:02d}-1.log").touch()
    alone.publish("serve")
    kept = sorted(path.name for path in logs.iterdir())
    assert len(kept) == KEPT
    assert kept[0] == "20200101T000006-1.log"


def test_a_home_that_cannot_have_a_log_is_used_without(alone: Desk) -> None:
    alone.home.mkdir()
    (alone.home / "logs").touch()
    done = alone.publish("serve")
    assert done.code == 70
    assert done.error.endswith("please report it.")


@pytest.mark.parametrize(
    ("words", "sorted_words"),
    [
        ("plan r.yaml --json", "--json plan r.yaml"),
        ("plan r.yaml --home h --target one", "--home h plan r.yaml --target one"),
        ("plan --home=h r.yaml", "--home=h plan r.yaml"),
        ("--traceback yank a/b v1 --why --json", "--traceback yank a/b v1 --why --json"),
        ("yank a/b v1 --why --json --verbose", "--verbose yank a/b v1 --why --json"),
        ("quantize s --keep --home --json", "--json quantize s --keep --home"),
        ("check -- --json", "check -- --json"),
        ("--home plan plan r.yaml --stream", "--home plan plan r.yaml --stream"),
        ("plan r.yaml --home", "--home plan r.yaml"),
    ],
)
def test_shared_options_stand_on_either_side_and_no_value_is_taken_for_one(words: str, sorted_words: str) -> None:
    assert " ".join(COMMAND.shared_first(words.split())) == sorted_words
    assert options_of(COMMAND)["--home"]
    assert not options_of(COMMAND)["--json"]

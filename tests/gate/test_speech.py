"""The gate works on a speech recognizer as well: a sample of ``python -m tests.gate.gate --recipe speech``."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.gate.speech_defects import SPEECH_DEFECTS

RECORDED = Path("/usr/share/pocketsphinx/test/data")
pytestmark = [
    pytest.mark.nightly,
    pytest.mark.skipif(
        not (RECORDED.is_dir() and shutil.which("espeak-ng")), reason="`make speech` installs what makes the clips"
    ),
]

CHOSEN = (
    "cross-attention of another layer",
    "one block of NaN",
    "words in silence",
    "wrong hop",
    "second extractor",
    "tokenizer without moments",
    "end suppressed",
    "extractor missing",
    "reference that hears nothing",
)
Lines = Mapping[str, Mapping[str, Any]]


@pytest.fixture(scope="module")
def lines(tmp_path_factory: pytest.TempPathFactory) -> Lines:
    """What the gate says of each candidate, by its name."""
    home = tmp_path_factory.mktemp("gate")
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "tests.gate.gate",
            "--recipe=speech",
            f"--home={home}",
            "--prompts=4",
            "--only",
            *CHOSEN,
        ],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=False,
    )
    found = {line["name"]: line for line in map(json.loads, done.stdout.splitlines())}
    assert len(found) >= len(CHOSEN) + 3, done.stderr[-4000:]
    return found


@pytest.mark.parametrize("name", CHOSEN)
def test_a_planted_defect_fails_and_the_first_reason_names_it(name: str, lines: Lines) -> None:
    found = lines[name]
    assert found["verdict"] == "FAIL"
    assert found["about"] == SPEECH_DEFECTS[name].about
    assert SPEECH_DEFECTS[name].names in found["reason"]


@pytest.mark.parametrize("name", ["honest source", "honest source, other attention", "honest torchao-int8"])
def test_what_is_honest_does_not_fail(name: str, lines: Lines) -> None:
    assert lines[name]["verdict"] != "FAIL"


def test_layers_and_files_show_what_answers_alone_do_not(lines: Lines) -> None:
    assert any(lines[name]["answers"] != "FAIL" for name in CHOSEN if SPEECH_DEFECTS[name].about in {"layer", "file"})

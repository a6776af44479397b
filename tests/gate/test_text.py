"""The gate works on a language model as well: a sample of ``python -m tests.gate.gate --recipe smollm2``."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.gate.text_defects import TEXT_DEFECTS

pytestmark = pytest.mark.nightly

CHOSEN = (
    "heads swapped",
    "one block of NaN",
    "embedding untied",
    "tokenizer of another model",
    "system prompt lost",
    "chat template that does not render",
    "defaults of generation missing",
    "reference that ignores its question",
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
            "--recipe=smollm2",
            f"--home={home}",
            "--prompts=2",
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
    assert found["about"] == TEXT_DEFECTS[name].about
    assert TEXT_DEFECTS[name].names in found["reason"]


@pytest.mark.parametrize("name", ["honest source", "honest source, other attention", "honest torchao-int8"])
def test_what_is_honest_does_not_fail(name: str, lines: Lines) -> None:
    assert lines[name]["verdict"] != "FAIL"


def test_layers_and_files_show_what_answers_alone_do_not(lines: Lines) -> None:
    assert any(lines[name]["answers"] != "FAIL" for name in CHOSEN if TEXT_DEFECTS[name].about in {"layer", "file"})

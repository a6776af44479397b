"""The gate works on a speech recognizer as well: a sample of ``tests.gate.gate --recipe speech --prompts 27``."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.gate.sampling import Lines, require_named, require_seen_beside_answers, sample
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
    "reference with the words of another model",
)


@pytest.fixture(scope="module")
def lines(tmp_path_factory: pytest.TempPathFactory) -> Lines:
    return sample(tmp_path_factory.mktemp("gate"), CHOSEN, "--recipe=speech", "--prompts=4")


@pytest.mark.parametrize("name", CHOSEN)
def test_a_planted_defect_fails_and_the_first_reason_names_it(name: str, lines: Lines) -> None:
    require_named(lines[name], SPEECH_DEFECTS[name])


@pytest.mark.parametrize("name", ["honest source", "honest source, other attention", "honest torchao-int8"])
def test_what_is_honest_does_not_fail(name: str, lines: Lines) -> None:
    assert lines[name]["verdict"] != "FAIL"


def test_layers_and_files_show_what_answers_alone_do_not(lines: Lines) -> None:
    require_seen_beside_answers(lines, SPEECH_DEFECTS)

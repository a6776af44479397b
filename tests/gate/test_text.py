"""The gate works on a language model as well: a sample of ``python -m tests.gate.gate --recipe smollm2``."""

from __future__ import annotations

import pytest

from tests.gate.sampling import Lines, require_named, require_seen_beside_answers, sample
from tests.gate.text_defects import TEXT_DEFECTS

pytestmark = pytest.mark.nightly

CHOSEN = (
    "heads swapped",
    "one block of NaN",
    "embedding untied",
    "tokenizer of another model",
    "system prompt lost",
    "chat template that does not render",
    "end lost",
    "reference that ignores its question",
)


@pytest.fixture(scope="module")
def lines(tmp_path_factory: pytest.TempPathFactory) -> Lines:
    return sample(tmp_path_factory.mktemp("gate"), CHOSEN, "--recipe=smollm2", "--prompts=2")


@pytest.mark.parametrize("name", CHOSEN)
def test_a_planted_defect_fails_and_the_first_reason_names_it(name: str, lines: Lines) -> None:
    require_named(lines[name], TEXT_DEFECTS[name])


@pytest.mark.parametrize("name", ["honest source", "honest source, other attention", "honest torchao-int8"])
def test_what_is_honest_does_not_fail(name: str, lines: Lines) -> None:
    assert lines[name]["verdict"] != "FAIL"


def test_layers_and_files_show_what_answers_alone_do_not(lines: Lines) -> None:
    require_seen_beside_answers(lines, TEXT_DEFECTS)

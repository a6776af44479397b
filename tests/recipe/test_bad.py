"""Each mistake beside its rendered error; `REWRITE_GOLDENS=1 pytest tests/recipe/test_bad.py` writes them anew."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pipeline.recipe import Vocabulary, problems

HERE = Path(__file__).parent
BAD = sorted((HERE / "bad").glob("*.yaml"))


def rendered(path: Path, vocabulary: Vocabulary) -> str:
    found = problems(path, vocabulary)
    assert found, "nothing is wrong with it"
    return "\n".join(map(str, found)).replace(f"{HERE}{os.sep}", "") + "\n"


@pytest.mark.parametrize("path", BAD, ids=lambda path: path.stem)
def test_a_mistake_is_told_as_its_golden_text_says(path: Path, vocabulary: Vocabulary) -> None:
    golden = path.with_suffix(".txt")
    text = rendered(path, vocabulary)
    if os.environ.get("REWRITE_GOLDENS"):
        golden.write_text(text, encoding="utf-8")
    assert text == golden.read_text(encoding="utf-8")


def test_every_golden_text_has_its_recipe() -> None:
    assert {path.stem for path in BAD} == {path.stem for path in (HERE / "bad").glob("*.txt")}


def test_all_problems_come_at_once_and_in_the_order_of_the_file(vocabulary: Vocabulary) -> None:
    found = problems(HERE / "bad" / "everything.yaml", vocabulary)
    assert [problem.line for problem in found] == sorted(problem.line for problem in found)
    assert {problem.line for problem in found} >= {3, 4, 6, 7, 8, 10, 11, 13, 14, 16, 17, 18, 20, 21, 22, 23, 24}

"""What the program knows of a component is what the library does with it, whatever the architecture."""

from __future__ import annotations

from collections.abc import Callable
from fnmatch import fnmatchcase
from pathlib import Path

import pytest
from families import comparing
from families.cases import CASES, FAILING, KEEPS, Said, Wanted, each, refused
from families.comparing import Case

from pipeline.backends.oracle.conversion import ConversionPlan

CaseOf = Callable[[Wanted], Case]


@each(CASES)
def test_an_answer_leads_to_what_the_library_writes(wanted: Wanted, said: Said, case_of: CaseOf, out: Path) -> None:
    case = case_of(wanted)
    answer = ConversionPlan.model_validate(said[wanted])
    theirs = comparing.by_library(case, answer, out)
    assert comparing.differences(comparing.as_answered(case, answer), theirs) == []


@pytest.mark.parametrize("wanted", FAILING, ids=str)
def test_what_the_library_cannot_make_is_refused(wanted: Wanted, said: Said, case_of: CaseOf, out: Path) -> None:
    with pytest.raises(Exception, match="conversion of the weights"):
        comparing.by_library(case_of(wanted), None, out)
    assert said[wanted]["error"] == "recipe"
    assert wanted.name in said[wanted]["what"]


@each(wanted for wanted in KEEPS if not refused(wanted))
def test_keep_keeps_what_it_names_and_nothing_else(wanted: Wanted, said: Said, case_of: CaseOf, out: Path) -> None:
    case = case_of(wanted)
    answer = ConversionPlan.model_validate(said[wanted])
    by_default = weights_of(ConversionPlan.model_validate(said[Wanted(wanted.name, wanted.scheme, wanted.dtype)]))
    named = {name for name in by_default for glob in wanted.keep if hits(name, glob)}
    assert named
    assert weights_of(answer) == by_default - named
    theirs = comparing.by_library(case, answer, out)
    assert comparing.differences(comparing.as_answered(case, answer), theirs) == []


@each(wanted for wanted in KEEPS if refused(wanted))
def test_keep_is_refused_where_the_library_would_keep_more(wanted: Wanted, said: Said) -> None:
    assert said[wanted]["error"] == "keep"
    assert "would also keep" in said[wanted]["what"]


def weights_of(answer: ConversionPlan) -> set[str]:
    """Return the modules whose weights are quantized."""
    return {part.parameter.removesuffix(".weight") for part in answer.conversions.values() if part.quantized}


def hits(name: str, glob: str) -> bool:
    """Return whether a pattern names a module, or a container of it."""
    return fnmatchcase(name, glob) or fnmatchcase(name, f"{glob}.*")

"""What is advised names what is there, and every row says what shows it: tests that exist, numbers as they stand."""

from __future__ import annotations

import ast
import json
import os
import re
import subprocess
import sys
from functools import reduce
from pathlib import Path
from typing import Any

import pytest

from pipeline.backends import SCHEMES
from pipeline.errors import RecipeError
from pipeline.fleet.advice import ROWS, Evidence, markdown, rows_for
from pipeline.recipe.problems import listed
from pipeline.run import STAGES

ROOT = Path(__file__).parents[2]
TABLE = re.compile(r"(?<=<!-- advise -->\n).*?(?=<!-- end -->)", re.DOTALL)
PROVEN = {"test", "benchmark", "report"}


def every(*kinds: str) -> list[Any]:
    found = [evidence for row in ROWS for evidence in row.evidence if evidence.kind in kinds]
    return [pytest.param(evidence, id=f"{evidence.where}-{evidence.at}") for evidence in found]


def test_rows_name_backends_and_schemes_that_there_are() -> None:
    assert [(row.need, pair) for row in ROWS for pair in row.choose if pair[1] not in SCHEMES.get(pair[0], {})] == []
    assert len({row.need for row in ROWS}) == len(ROWS)


def test_what_is_advised_is_shown_and_what_is_not_there_claims_nothing() -> None:
    assert [row.need for row in ROWS if bool(row.choose) != bool(row.evidence)] == []
    assert [row.need for row in ROWS if not row.choose] == []


@pytest.mark.parametrize("evidence", every("test"))
def test_a_test_that_is_named_is_there(evidence: Evidence) -> None:
    path, _, name = evidence.where.partition("::")
    tree = ast.parse((ROOT / path).read_text())
    assert name in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}


@pytest.mark.parametrize("evidence", every("benchmark", "report"))
def test_a_number_is_what_was_measured(evidence: Evidence) -> None:
    if evidence.kind == "benchmark":
        found = json.loads((ROOT / "benchmarks" / "results.json").read_text())["comparisons"][evidence.where]
    else:
        found = json.loads((ROOT / evidence.where).read_text())
    number = reduce(lambda value, key: value[key], evidence.at.split("."), found)
    assert evidence.told == evidence.words.format(number)
    assert evidence.told != evidence.words


@pytest.mark.parametrize("evidence", every("upstream"))
def test_a_claim_of_others_is_marked_and_has_its_address(evidence: Evidence) -> None:
    assert evidence.where.startswith("https://")
    assert f"upstream's claim]({evidence.where})" in evidence.markdown
    assert evidence.text.startswith("upstream: ")


def test_the_page_on_choosing_has_the_table() -> None:
    page = ROOT / "docs" / "choosing.md"
    table = f"{markdown(list(ROWS))}\n"
    if os.environ.get("REWRITE_GOLDENS"):
        page.write_text(TABLE.sub(lambda _: table, page.read_text()))
    assert TABLE.search(page.read_text())[0] == table


def test_needs_are_asked_for_by_name() -> None:
    assert [row.need for row in rows_for("lora, cpu")] == ["lora", "cpu"]
    assert rows_for("") == list(ROWS)
    with pytest.raises(RecipeError, match=r"Did you mean 'memory'\?.*The needs are"):
        rows_for("memroy")


def test_the_command_says_the_table_and_its_json() -> None:
    def said(*further: str) -> str:
        command = [sys.executable, "-X", "importtime", "-m", "pipeline.cli", "advise", *further]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        assert " torch\n" not in done.stderr
        return done.stdout

    assert said("--markdown") == f"{markdown(list(ROWS))}\n"
    (row,) = json.loads(said("--for", "web", "--json"))["needs"]
    assert (row["need"], row["choose"]) == (
        "web",
        [{"backend": "onnx", "scheme": "q8", "activations": "weight-only"}],
    )


def test_help_names_every_need_and_every_stage() -> None:
    def told(verb: str) -> str:
        command = [sys.executable, "-m", "pipeline.cli", verb, "--help"]
        return " ".join(subprocess.run(command, capture_output=True, text=True, check=True).stdout.split())

    assert listed([row.need for row in ROWS], "and") in told("advise")
    assert listed(STAGES, "and") in told("run")

"""What `publish check` says is read by people, by GitHub, by code scanning and by programs, and each has all of it."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
from pydantic_sarif.model import StaticAnalysisResultsFormatSarifVersion210JsonSchema as Sarif

from pipeline.cli.annotations import as_github, as_sarif
from pipeline.lint.faults import RULES, Fault
from pipeline.recipe import Problem, Vocabulary, problems

HERE = Path(__file__).parent
BAD = ["include_faults", "wide_characters", "defaults_values", "long_line"]
STRANGE = Problem("a,b:c%/ä b.yaml", 3, 5, "100% wrong\r\n::set-env::x", "1,2", "best", 4)


@pytest.fixture
def told(vocabulary: Vocabulary, monkeypatch: pytest.MonkeyPatch) -> list[Problem]:
    """Problems of recipes, their included files, and one that is not there, from the folder in which they lie."""
    monkeypatch.chdir(HERE)
    files = [*(HERE / "bad" / f"{name}.yaml" for name in BAD), HERE / "nowhere.yaml"]
    return [problem for path in files for problem in problems(path, vocabulary)]


def obeyed(line: str) -> tuple[dict[str, str], str]:
    """Read a command as the runner of a workflow does (actions/toolkit, core/src/command.ts, read backwards)."""
    properties, message = re.fullmatch(r"::error ([^:]*)::(.*)", line).groups()

    def plain(text: str) -> str:
        for sign in ":,\r\n%":
            text = text.replace(f"%{ord(sign):02X}", sign)
        return text

    return {name: plain(value) for name, value in (one.split("=") for one in properties.split(","))}, plain(message)


def test_github_annotates_every_problem_at_its_characters(told: list[Problem]) -> None:
    lines = as_github(told).split("\n")
    assert len(lines) == len(told)
    for line, problem in zip(lines, told, strict=True):
        places, message = obeyed(line)
        assert message == problem.message
        assert places["file"] == Path(problem.file).relative_to(HERE).as_posix()
        if problem.line:
            shown = Path(places["file"]).read_text(encoding="utf-8").split("\n")[int(places["line"]) - 1]
            marked = shown[int(places["col"]) - 1 : int(places["endColumn"])]
            assert marked == problem.excerpt[problem.column - 1 :][: problem.width]
    assert set(obeyed(lines[-1])[0]) == {"file", "title"}


def test_nothing_in_a_recipe_is_a_command_of_its_own() -> None:
    command = as_github([STRANGE])
    assert command.count("\n") == command.count("\r") == 0
    places, message = obeyed(command)
    assert places["file"] == STRANGE.file
    assert message == STRANGE.message


def test_sarif_has_the_form_that_code_scanning_reads(told: list[Problem]) -> None:
    log = json.loads(as_sarif([*told, STRANGE], "1.2.3"))
    assert (log["version"], log["$schema"]) == ("2.1.0", "https://json.schemastore.org/sarif-2.1.0.json")
    (run,) = log["runs"]
    driver = run["tool"]["driver"]
    assert (driver["name"], driver["version"]) == ("quantpress", "1.2.3")
    rules = {rule["id"] for rule in driver["rules"]}
    assert len(run["results"]) == len(told) + 1
    for result, problem in zip(run["results"], [*told, STRANGE], strict=True):
        assert (result["level"], result["message"]) == ("error", {"text": problem.message})
        assert result["ruleId"] in rules
        assert region_of(result, run) == (problem.line, problem.column, problem.column + problem.width)
        uri = result["locations"][0]["physicalLocation"]["artifactLocation"]["uri"]
        assert re.fullmatch(r"[A-Za-z0-9._~/%-]+", uri)
        assert unquote(uri) == os.path.relpath(problem.file)


def test_sarif_fits_its_schema(told: list[Problem]) -> None:
    """As models that are made of it, which take no word that it has not."""
    fault = Fault("scale-damaged", "All are zero.", "models/ä b#?.gguf", "blk.0\nweight", level="warning")
    for log in (as_sarif([*told, STRANGE], "1.2.3"), as_sarif([], "1.2.3"), as_sarif([fault], "1", "lint", RULES)):
        (run,) = Sarif.model_validate_json(log).runs
        assert len(run.results) == len(json.loads(log)["runs"][0]["results"])


def region_of(result: dict[str, Any], run: dict[str, Any]) -> tuple[int, int, int]:
    """Return line and columns, which begin at 1 and count code points; where a file cannot be read it has none."""
    (location,) = result["locations"]
    place = location["physicalLocation"]
    assert place["artifactLocation"]["uriBaseId"] in run["originalUriBaseIds"]
    assert run["columnKind"] == "unicodeCodePoints"
    if "region" not in place:
        return 0, 0, 1
    region = place["region"]
    assert region["startLine"] > 0
    assert 0 < region["startColumn"] < region["endColumn"]
    return region["startLine"], region["startColumn"], region["endColumn"]


def check(*words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pipeline.cli", "check", *words]
    environment = {**os.environ, "PYTHONPATH": str(HERE.parents[1]), "GITHUB_ACTIONS": "true"}
    return subprocess.run(command, cwd=HERE, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    ("form", "first"),
    [("github", "::error file=bad/seed_twice.yaml"), ("sarif", "{"), ("json", '{"problems": [{'), ("text", "bad/seed")],
)
def test_the_command_ends_alike_however_it_tells(form: str, first: str) -> None:
    done = check("bad/seed_twice.yaml", "--output-format", form)
    assert done.returncode == 2, done.stderr
    assert done.stdout.startswith(first)
    assert "seed" in done.stdout


def test_programs_get_the_likely_word_and_where_a_mistake_ends() -> None:
    found = json.loads(check("bad/source_typo.yaml", "--output-format", "json").stdout)["problems"]
    shown = (HERE / "bad" / "source_typo.yaml").read_text().split("\n")[found[0]["line"] - 1]
    assert found[0]["suggestion"] == "path"
    assert shown[found[0]["column"] - 1 : found[0]["end_column"] - 1] == "pth"


def test_a_file_that_recipes_include_may_be_named_beside_them() -> None:
    done = check(*(str(HERE.parents[1] / "recipes" / f"{name}.yaml") for name in ("_pictures", "qwen-image")))
    assert (done.returncode, done.stdout) == (0, "2 checked, no problems\n"), done.stderr


def test_a_recipe_without_problems_is_told_in_each_form() -> None:
    assert json.loads(check("good.yaml", "--output-format", "sarif").stdout)["runs"][0]["results"] == []
    done = check("good.yaml", "--output-format", "github")
    assert (done.returncode, done.stdout) == (0, "1 checked, no problems\n")

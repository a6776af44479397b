"""``publish validate`` judges one folder against another; nothing is made and nothing published."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from tests.desk import Desk, Done, Shelf

REQUIRE = {"psnr": {"min": 40}}
PROMPTS = ["seven", "a thin two", "zero", "a red one", "three", "a bold four", "five", "a blue six"]  # the fewest


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home in which the reference is asked by whichever test comes first."""
    return tmp_path_factory.mktemp("judging") / "home"


def desk_in(folder: Path, home: Path) -> Desk:
    """A desk without a Hub: no folder needs one."""
    return Desk(folder, Shelf("http://127.0.0.1:9", folder / "hub", "0" * 40), home)


def recipe_of(desk: Desk) -> Path:
    written = desk.recipe(require=REQUIRE)
    (desk.folder / "prompts.jsonl").write_text("".join(json.dumps({"prompt": text}) + "\n" for text in PROMPTS))
    return written


@pytest.fixture
def desk(home: Path, tmp_path: Path) -> Desk:
    return desk_in(tmp_path, home)


@pytest.fixture
def recipe(desk: Desk) -> Path:
    return recipe_of(desk)


@pytest.fixture(scope="module")
def judged(home: Path, source: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Done, Path]:
    """What was said of the source against itself, and what was written of it."""
    desk = desk_in(tmp_path_factory.mktemp("judged"), home)
    command = ("--json", "validate", source, "--reference", source, "--recipe", recipe_of(desk), "--out", "out")
    return desk.publish(*command), desk.folder / "out"


def test_the_source_against_itself_passes(judged: tuple[Done, Path]) -> None:
    done, out = judged
    assert done.code == 0, done.err
    assert done.lines[-1]["result"]["verdict"] == "PASS"
    assert "/_pytree.py" not in done.err  # torch would tell there of what it thinks of torchao
    report = json.loads((out / "report.json").read_bytes())
    assert report["identical"] == len(report["pairs"]) == len(PROMPTS)
    assert report["floor"]["pairs"] == 2
    assert all((out / pair["candidate"]).exists() for pair in report["pairs"])


def test_its_page_has_the_verdict_the_pictures_and_what_was_asked(judged: tuple[Done, Path], source: Path) -> None:
    page = (judged[1] / "report.html").read_text()
    assert f"<title>PASS: {source.name}" in page
    assert page.count("data:image/png;base64,") >= len(PROMPTS)
    assert "8 from the recipe&#39;s prompts.jsonl" in page
    assert "Beside the other targets" not in page


def reference(desk: Desk) -> dict[Path, int]:
    """Return the pictures that the reference answered, and when it did."""
    return {path: path.stat().st_mtime_ns for path in (desk.home / "store" / "reference").rglob("*.png")}


def test_another_model_fails_the_reason_names_the_layer_and_the_reference_is_asked_once(
    desk: Desk, recipe: Path, source: Path, judged: tuple[Done, Path]
) -> None:
    import torch
    from diffusers import FluxTransformer2DModel

    assert judged[0].code == 0
    before = reference(desk)
    spoilt, out = desk.folder / "spoilt", desk.folder / "out"
    shutil.copytree(source, spoilt)
    model = FluxTransformer2DModel.from_pretrained(spoilt / "transformer", dtype=torch.bfloat16)
    with torch.no_grad():
        model.proj_out.weight.mul_(-1)
    model.save_pretrained(spoilt / "transformer")
    done = desk.publish("validate", spoilt, "--reference", source, "--recipe", recipe, "--out", out)
    assert done.code == 6
    assert done.out.splitlines()[0] == f"FAIL: {out / 'report.html'}"
    assert before
    assert reference(desk) == before
    assert "transformer: proj_out was not quantized and yet keeps only -6.0 dB of its signal" in done.out
    assert json.loads((out / "report.json").read_bytes())["reasons"][0]["about"] == "layer"


def test_what_is_no_pipeline_is_refused(desk: Desk, recipe: Path, source: Path) -> None:
    out = desk.folder / "out"
    command = ("--recipe", recipe, "--out", out)
    done = desk.publish("validate", source / "transformer", "--reference", source, *command)
    assert done.code == 4
    assert "model_index.json" in done.error
    assert desk.publish("validate", source, "--reference", desk.folder / "nowhere", *command).code == 4


def test_a_graph_that_is_not_there_is_told_by_its_name(desk: Desk, recipe: Path, source: Path) -> None:
    done = desk.publish("validate", "no.onnx", "--reference", source, "--recipe", recipe, "--out", "out")
    assert done.code == 4
    assert "no.onnx: There is no such file." in done.error

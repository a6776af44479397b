"""``publish lint`` as its user types it: text, JSON, annotations and SARIF, an exit code, and a repository of a Hub."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from localhub.server import running
from tests.desk import TOKENS, Desk, Shelf
from tests.lint.spoil import EVERYWHERE, change, inputs_of_one

LOST = EVERYWHERE["a scale lacks"]


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    with running(tmp_path / "hub", tokens=TOKENS) as endpoint:
        (tmp_path / "desk").mkdir()
        yield Desk(tmp_path / "desk", Shelf(endpoint, tmp_path / "hub", ""), tmp_path / "home")


def spoiled(desk: Desk, made: Path, form: str = "comfy-int8") -> Path:
    shutil.copytree(made / form, desk.folder / "model")
    LOST(desk.folder / "model")
    return desk.folder / "model" / "model.safetensors"


def test_a_file_in_order_ends_with_0_and_says_what_it_is(desk: Desk, made: Path) -> None:
    done = desk.publish("lint", made / "comfy-nvfp4" / "model.safetensors", "--base", made / "plain")
    assert done.code == 0, done.err
    assert "model.safetensors: ComfyUI" in done.out
    assert "32 nvfp4 (ComfyUI)" in done.out
    assert "73 weights against the base" in done.out
    assert done.out.endswith("nothing is wrong with it\n")


def test_a_missing_scale_ends_with_10_and_one_paragraph(desk: Desk, made: Path) -> None:
    path = spoiled(desk, made)
    done = desk.publish("lint", path)
    assert done.code == 10
    assert desk.plain(done.error) == (
        "FOLDER/model/model.safetensors: blocks.3.attn.to_q.weight: int8 per row (ComfyUI) needs `weight_scale` beside "
        "its codes, and there is none. Ask its publisher for a whole file."
    )
    assert "[scale-missing]" in done.out
    assert "1 error" in done.out


def test_a_warning_alone_refuses_nothing(desk: Desk, made: Path) -> None:
    shutil.copytree(made / "bfl-nvfp4", desk.folder / "model")
    change(inputs_of_one)(desk.folder / "model")
    done = desk.publish("lint", desk.folder / "model")
    assert (done.code, done.error) == (0, "")
    assert (
        "warning: model.safetensors: blocks.0.attn.to_k.input_scale: All 32 scales of activations are 1.0" in done.out
    )


def test_programs_read_json_and_sarif(desk: Desk, made: Path) -> None:
    path = spoiled(desk, made)
    done = desk.publish("lint", path, "--headers", "--json")
    (result, error) = done.lines
    assert error["exit_code"] == done.code == 10
    (model,) = result["result"]["models"]
    assert (model["format"], model["read"], model["schemes"]) == ("comfy", False, {"int8 per row (ComfyUI)": 32})
    assert [(fault["rule"], fault["level"], fault["tensor"]) for fault in model["faults"]] == [
        ("scale-missing", "error", "blocks.3.attn.to_q.weight")
    ]
    log = json.loads(desk.publish("lint", path, "--headers", "--output-format", "sarif").out)
    (run,) = log["runs"]
    (found,) = run["results"]
    assert found["ruleId"] == "scale-missing"
    assert found["ruleId"] in {rule["id"] for rule in run["tool"]["driver"]["rules"]}
    assert found["locations"][0]["physicalLocation"]["artifactLocation"]["uri"] == "model/model.safetensors"
    command = desk.publish("lint", path, "--headers", "--output-format", "github").out
    assert command.startswith("::error file=model/model.safetensors,title=publish lint::blocks.3.attn.to_q.weight: ")


def test_files_of_repositories_are_read_over_the_wire_and_compared(desk: Desk, made: Path) -> None:
    for form in ("bnb-nf4-nested", "plain"):
        desk.shelf.api.create_repo(f"alice/{form}")
        files = {f"weights/{path.name}": path.read_bytes() for path in (made / form).iterdir()}
        desk.shelf.commit_files(files | {"broken.safetensors": b"nothing"}, f"alice/{form}")
    done = desk.publish(
        "lint", "alice/bnb-nf4-nested/weights/model.safetensors", "--base", "hf://alice/plain@main/weights"
    )
    assert done.code == 0, done.err
    assert "nf4 in blocks of 64, absmax quantized (bitsandbytes)" in done.out
    assert "73 weights against the base" in done.out
    whole = desk.publish("lint", "alice/bnb-nf4-nested", "--headers", "--json")
    assert whole.code == 10
    assert whole.lines[0]["result"]["models"][0]["faults"][0]["rule"] == "file-broken"
    gone = desk.publish("lint", f"{desk.shelf.endpoint}/alice/plain/blob/main/weights/other.gguf")
    assert gone.code == 4
    assert "There is no file or folder 'weights/other.gguf' in it." in gone.error
    assert "It has broken.safetensors, weights/model.safetensors." in gone.error


def test_a_link_that_leads_nowhere_is_named_and_the_rest_looked_at(desk: Desk, made: Path) -> None:
    """As in the cache of huggingface_hub, of which somebody removed blobs."""
    path = desk.folder / "model"
    shutil.copytree(made / "comfy-int8", path)
    for name in ("other.safetensors", "gone.txt"):
        (path / name).symlink_to(f"../blobs/{name}")
    done = desk.publish("lint", path, "--headers", "--json")
    (result, error) = done.lines
    assert done.code == 10
    assert "gone.txt: It is a link that leads nowhere. Download it again" in error["error"]
    faults = result["result"]["faults"]
    assert [(one["rule"], one["file"]) for one in faults] == [
        ("file-missing", "gone.txt"),
        ("file-missing", "other.safetensors"),
    ]
    assert [model["name"] for model in result["result"]["models"]] == ["model.safetensors"]


@pytest.mark.parametrize("subject", ["gone.safetensors", "some/gone.gguf", "./gone", "alice/gone"])
def test_what_is_not_there_is_said(subject: str, desk: Desk) -> None:
    done = desk.publish("lint", subject)
    assert done.code == 4
    assert subject.removeprefix("./") in done.error


def test_a_hub_that_cannot_be_reached_is_none_of_the_faults_of_a_file(desk: Desk) -> None:
    desk.extra["HF_ENDPOINT"] = "http://127.0.0.1:9"
    done = desk.publish("lint", "alice/plain/model.safetensors")
    assert done.code == 9
    assert "127.0.0.1 cannot be reached" in done.error


@pytest.mark.parametrize(("values", "imported"), [(True, ["numba"]), (False, [])])
def test_torch_is_never_imported_and_numba_for_weights_alone(values: bool, imported: list[str], made: Path) -> None:
    """As a release looks at headers, and whoever asks for `--headers`."""
    code = f"""
import sys
from pathlib import Path
from pipeline.lint import lint
from pipeline.source.layout import Folder
lint(Folder(Path({str(made / "comfy-convrot")!r})), Folder(Path({str(made / "plain")!r})), values={values})
print(sorted({{"torch", "numba", "safetensors"}} & set(sys.modules)))
"""
    assert (
        subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
        == f"{imported}\n"
    )


def test_a_file_is_looked_at_with_what_lies_beside_it(desk: Desk, made: Path) -> None:
    """Its configuration and its shards, and no other model."""
    shutil.copytree(made / "compressed-float8", desk.folder / "model")
    (desk.folder / "model" / "other.safetensors").write_bytes(b"broken")
    done = desk.publish("lint", desk.folder / "model" / "model.safetensors")
    assert (done.code, done.error) == (0, "")
    assert "compressed-tensors" in done.out
    assert "other" not in done.out


def test_a_repository_on_the_embedded_hub_is_looked_at(desk: Desk, made: Path) -> None:
    files = {path.name: path.read_bytes() for path in (made / "bnb-nf4").iterdir()}
    desk.shelf.api.create_repo("alice/bnb-nf4")
    desk.shelf.commit_files(files, "alice/bnb-nf4")
    done = desk.publish("lint", "alice/bnb-nf4", "--hub", desk.shelf.endpoint)
    assert (done.code, done.error) == (0, "")
    assert desk.publish("lint", "alice/bnb-nf4", "--hub", "local").code == 4  # of the home, where nothing lies yet


def test_a_base_is_looked_for_where_sources_come_from_otherwise(desk: Desk, made: Path) -> None:
    desk.shelf.api.create_repo("alice/plain")
    desk.shelf.commit_files({path.name: path.read_bytes() for path in (made / "plain").iterdir()}, "alice/plain")
    done = desk.publish("lint", made / "comfy-nvfp4", "--base", "alice/plain", "--hub", "local")
    assert (done.code, done.error) == (0, "")
    assert "73 weights against the base" in done.out

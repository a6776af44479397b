"""A recipe follows its source: what moved is told from listings and headers, and the file keeps its words."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save

from tests.desk import REPO, WEIGHTS, Desk

RECIPE = """\
# What we publish.
source:
  repo: acme/tiny{revision}
task: text-to-image
destination: {{namespace: alice}}
targets:
  one:
    transformer: {{backend: torchao, scheme: int8-weight-only}}   # the first
validation:
  prompts: prompts.jsonl
  seeds: [3]
  require: {{size_ratio: {{max: 2.0}}}}
card: {{template: text-to-image}}
"""


def recipe(desk: Desk, commit: str = "") -> Path:
    (desk.folder / "prompts.jsonl").write_text('{"prompt": "seven"}\n')
    path = desk.folder / "recipe.yaml"
    path.write_text(RECIPE.format(revision=f"\n  revision: {commit}   # pinned" if commit else ""))
    return path


def moved(desk: Desk) -> str:
    """Replace weights, remove and add a file, and give the source another license."""
    tensors = {"extra.weight": np.zeros((1, 64), np.float32), "proj_out.weight": np.zeros((2, 64), np.float32)}
    return desk.shelf.commit_files(
        {
            WEIGHTS: save(tensors),
            "tokenizer/tokenizer_config.json": None,
            "notes.md": b"new",
            "README.md": b"---\nlicense: mit\n---\n# Tiny\n",
        }
    )


def test_a_recipe_without_a_commit_says_one_thing_and_is_filled_in(desk: Desk) -> None:
    path = recipe(desk)
    checked = desk.publish("--json", "check", path)
    assert (checked.code, len(checked.lines[-1]["problems"])) == (2, 1)
    (problem,) = checked.lines[-1]["problems"]
    assert (problem["line"], problem["text"]) == (3, f"no commit pins 'acme/tiny'; `publish bump {path}` fills it in")
    done = desk.publish("bump", path)
    assert done.code == 0, done.err
    assert path.read_text() == RECIPE.format(revision=f"\n  revision: {desk.shelf.commit}")
    assert f"publish plan {path}" in done.out
    assert desk.publish("check", path).code == 0


def test_a_recipe_at_the_newest_commit_is_left_alone(desk: Desk) -> None:
    path = recipe(desk, desk.shelf.commit)
    before = path.stat().st_mtime_ns
    done = desk.publish("bump", path)
    assert (done.code, path.stat().st_mtime_ns) == (0, before)
    assert f"acme/tiny is at its newest commit, {desk.shelf.commit}" in done.out


@pytest.mark.parametrize("write", [True, False])
def test_what_moved_is_told_file_by_file_and_tensor_by_tensor(desk: Desk, write: bool) -> None:
    path, old = recipe(desk, desk.shelf.commit), desk.shelf.commit
    new = moved(desk)
    desk.shelf.api.update_repo_settings(REPO, gated="auto")
    done = desk.publish("--json", "bump", path, *(() if write else ("--check-only",)), python=("-X", "importtime"))
    assert done.code == 0, done.err
    assert " torch\n" not in done.err
    (bumped,) = done.lines[-1]["bumped"]
    (pin,) = bumped["pins"]
    assert (bumped["moved"], bumped["written"]) == (True, write)
    assert (pin["before"], pin["after"], pin["gate"]) == (old, new, "auto")
    found = pin["differences"]
    assert set(found["files"]) == {WEIGHTS, "tokenizer/tokenizer_config.json", "notes.md", "README.md"}
    assert found["files"]["notes.md"] == [None, 3]
    assert found["files"]["tokenizer/tokenizer_config.json"][1] is None
    assert found["license"] == {"license": ["apache-2.0", "mit"]}
    tensors = found["tensors"]
    assert tensors["transformer/extra.weight"] == [None, "F32 [1, 64]"]
    assert tensors["transformer/proj_out.weight"] == ["BF16 [64, 64]", "F32 [2, 64]"]
    assert tensors["transformer/proj_out.bias"] == ["BF16 [64]", None]
    assert {name.split("/")[0] for name in tensors} == {"transformer"}
    assert path.read_text() == RECIPE.format(revision=f"\n  revision: {new if write else old}   # pinned")


def test_people_read_what_moved(desk: Desk) -> None:
    path = recipe(desk, desk.shelf.commit)
    new = moved(desk)
    done = desk.publish("bump", path, "--check-only")
    assert f"acme/tiny {desk.shelf.commit[:12]} → {new[:12]}" in done.out
    lines = [line.strip() for line in done.out.splitlines()]
    assert lines[1] == "changed license: apache-2.0 → mit"
    assert "added notes.md: 3 B" in lines
    assert lines[-2].startswith("and ")  # a screen has so many lines
    assert lines[-1].endswith(f"not written; to write it: publish bump {path}")


def test_a_commit_that_is_no_longer_there_is_told_and_moved_from(desk: Desk) -> None:
    path = recipe(desk, "0" * 39 + "1")
    done = desk.publish("bump", path)
    assert done.code == 0, done.err
    assert "000000000000 cannot be compared: The repository has no such commit." in done.out
    assert desk.shelf.commit in path.read_text()


def test_judges_move_when_they_are_asked_for_and_are_filled_in_anyway(desk: Desk) -> None:
    (desk.folder / "prompts.jsonl").write_text('{"prompt": "seven"}\n')
    desk.shelf.api.create_repo("acme/clip")
    judge = desk.shelf.commit_files({"config.json": b"{}"}, "acme/clip")
    clip = {"model": "acme/clip", "drop": {"max": 1.0}}
    path = desk.recipe(require={"clip_score": clip})
    done = desk.publish("--json", "bump", path)
    assert done.code == 0, done.err
    assert [(pin["kind"], pin["after"]) for pin in done.lines[-1]["bumped"][0]["pins"]] == [
        ("source", desk.shelf.commit),
        ("judges", judge),
    ]
    assert desk.publish("check", path).code == 0
    later = desk.shelf.commit_files({"config.json": b"{ }"}, "acme/clip")
    assert later not in path.read_text()
    assert desk.publish("bump", path).code == 0
    assert later not in path.read_text()
    assert desk.publish("bump", path, "--judges").code == 0
    assert later in path.read_text()


def test_what_else_is_wrong_is_told_by_the_lines_of_the_file_and_nothing_is_written(desk: Desk) -> None:
    path = recipe(desk)
    path.write_text(path.read_text().replace("seeds: [3]", "seeds: [-3]"))
    written = path.read_text()
    done = desk.publish("bump", path)
    assert (done.code, path.read_text()) == (2, written)
    assert f"{path}:11:11: -3 is out of range" in done.err


def test_one_recipe_that_cannot_be_bumped_keeps_no_other_from_it(desk: Desk) -> None:
    path = recipe(desk)
    folder = desk.recipe(source={"path": "tiny"}, name="folder.yaml")
    (desk.folder / "tiny").mkdir()
    done = desk.publish("bump", folder, path)
    assert done.code == 2
    assert "It names no repository on the Hub whose commit is to be moved." in done.error
    assert desk.shelf.commit in path.read_text()


def test_a_newest_commit_that_is_no_whole_model_is_not_moved_to(desk: Desk) -> None:
    path = recipe(desk, desk.shelf.commit)
    desk.shelf.commit_files({WEIGHTS: None, "transformer/diffusion_pytorch_model.bin": b"pickle"})
    done = desk.publish("bump", path)
    assert done.code == 4
    assert "pickles are never read" in done.error
    assert desk.shelf.commit in path.read_text()

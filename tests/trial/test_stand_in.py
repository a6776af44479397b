"""Stand-ins: which model takes the place of a source, how little is asked of it, and what that leaves out."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pipeline.backends import SCHEMES
from pipeline.card.render import templates
from pipeline.hub.client import Hub
from pipeline.recipe import FolderSource, Loaded, Vocabulary, load
from pipeline.recipe.prompts import read_pinned
from pipeline.tasks import TASKS
from pipeline.trial import StandIn, stand_in
from pipeline.trial.made_up import write_questions
from pipeline.trial.reduced import names_nothing, reduced
from pipeline.trial.stand_in import class_at
from tests.desk import REPO, Desk

TINY = StandIn(Path("/tiny"), "a tiny model", call={"height": 32, "width": 32})
OTHER = StandIn(Path("/other"), "another", fits=False, takes=frozenset({"height", "guidance_scale"}))
ITSELF = StandIn(Path("/itself"), "the source", itself=True)
MODULES = {"blocks", "blocks.0", "blocks.0.proj_out", "blocks.1", "proj_out"}


def read(path: Path) -> Loaded:
    return load(path, Vocabulary(SCHEMES, frozenset(templates()), TASKS))


def test_a_small_source_stands_for_itself_and_so_does_the_folder_beside_a_recipe(desk: Desk, source: Path) -> None:
    nowhere = Hub("http://127.0.0.1:9")
    found = stand_in(read(desk.recipe(source={"path": str(source)})), nowhere, desk.folder / "made")
    assert (found.folder, found.itself, found.fits) == (source, True, True)
    (desk.folder / "source").symlink_to(source)
    assert stand_in(read(desk.recipe()), nowhere, desk.folder / "made").folder == source
    assert not (desk.folder / "made").exists()


def test_it_is_asked_for_few_steps_and_small_pictures_and_for_nothing_that_it_does_not_take() -> None:
    written = {"num_inference_steps": 50, "height": 1024, "guidance_scale": 3.5, "true_cfg_scale": 4.0}
    tiny = {"num_inference_steps": 2, "height": 32, "width": 32, "guidance_scale": 3.5, "true_cfg_scale": 4.0}
    assert TINY.called(written) == (tiny, [])
    assert ITSELF.called(written) == ({**written, "num_inference_steps": 2}, [])
    asked, strange = OTHER.called({"height": 1024, "guidance_scale": 3.5, "true_cfg_scale": 4.0})
    assert (asked, strange) == ({"height": 1024, "guidance_scale": 3.5}, ["true_cfg_scale"])


def test_one_step_stays_one_step() -> None:
    assert TINY.called({"num_inference_steps": 1})[0]["num_inference_steps"] == 1


@pytest.mark.parametrize(
    ("pattern", "tiny", "other"),
    [
        ("*proj_out", False, False),
        ("blocks.1", False, False),
        ("blocks.58", True, True),  # deeper than a tiny model is
        ("layers.2[89]", True, True),
        ("*.3?.proj_out", True, True),
        ("*.atn1", False, True),  # no number of a layer
        ("*proj_uot", False, True),  # a mistake, unless the modules are somebody else's
    ],
)
def test_only_layers_that_the_source_may_have_and_the_stand_in_has_not_are_left_out(
    pattern: str, tiny: bool, other: bool
) -> None:
    assert (names_nothing(pattern, MODULES, TINY), names_nothing(pattern, MODULES, OTHER)) == (tiny, other)
    assert not names_nothing(pattern, MODULES, ITSELF)


def test_what_is_left_out_of_a_recipe_is_told(desk: Desk) -> None:
    judge = {"model": "openai/clip", "revision": "0" * 40, "drop": {"max": 1}}
    require = {"clip_score": judge, "clip_similarity": {"min": 0.9}, "ms_ssim": {"min": 0.9}, "psnr": {"min": 20}}
    path = desk.recipe(require=require)
    written = json.loads(path.read_text())
    written["validation"] |= {"seeds": [3, 4], "compile": {"components": ["transformer"]}}
    written["loras"] = [{"repo": REPO, "revision": desk.shelf.commit, "how": "fused"}]
    path.write_text(json.dumps(written))
    tried, told = reduced(read(path), TINY)
    assert tried.recipe.source == FolderSource(path="/tiny")
    assert (tried.recipe.loras, tried.recipe.validation.compile, tried.recipe.validation.seeds) == ((), None, (3,))
    assert tried.recipe.validation.require.model_dump(exclude_none=True) == {"psnr": {"min": 20}}
    for what in ("clip_score", "clip_similarity", "ms_ssim", "LoRAs", "torch.compile"):
        assert any(what in text for text in told), what
    kept, _ = reduced(read(path), ITSELF)
    assert "ms_ssim" in kept.recipe.validation.require.model_dump(exclude_none=True)


def test_prompts_and_labels_of_a_dataset_are_left_out(desk: Desk) -> None:
    prompts = {"dataset": "acme/prompts", "revision": "0" * 40, "split": "train", "column": "text", "label": "digit"}
    require = {"label_accuracy": {"model": "./judge", "min": 0.5}, "psnr": {"min": 20}}
    tried, told = reduced(read(desk.recipe(require=require, prompts=prompts)), ITSELF)
    assert tried.recipe.validation.require.model_dump(exclude_none=True) == {"psnr": {"min": 20}}
    assert any("others are asked" in text for text in told)


def test_the_class_behind_a_gate_is_among_the_tags(desk: Desk) -> None:
    hub = Hub(desk.shelf.endpoint, token="alice")
    assert class_at(hub, REPO) == ""
    desk.shelf.commit_files({"README.md": b"---\nlicense: mit\ntags: [art, 'diffusers:FluxPipeline']\n---\n"})
    assert class_at(hub, REPO) == "FluxPipeline"
    assert class_at(hub, "acme/nothing") == ""


@pytest.mark.parametrize("name", TASKS)
def test_questions_in_place_of_a_dataset_s_have_files_that_their_task_opens_and_are_unlike(
    name: str, tmp_path: Path
) -> None:
    task = TASKS[name]
    prompts, files = read_pinned(write_questions(task, 16, tmp_path / "made-up"), task.form)
    assert len({one.prompt for one in prompts}) == 16
    for one in prompts:
        assert set(one.files) == set(task.files)
        assert one.label == ("" if task.exact else None)  # made-up sounds say nothing
        for file in one.files.values():
            task.open_file(files[file])
    for role in set(task.files) - {"mask_image"}:
        assert len({one.files[role] for one in prompts}) == 16

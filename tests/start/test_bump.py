"""A recipe follows its source: what moved is told from listings and headers, and the file keeps its words."""

from __future__ import annotations

import stat
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save

from pipeline.backends import SCHEMES
from pipeline.card.render import templates
from pipeline.errors import RecipeError, SourceError
from pipeline.events import silent
from pipeline.fleet.bump import Bumped, bump, fill, rewritten
from pipeline.fleet.starter.recipe import relicensed
from pipeline.hub.client import Hub
from pipeline.recipe import InvalidRecipe, Vocabulary
from pipeline.recipe.pins import Kind, find_pins
from pipeline.run import Engine
from pipeline.tasks import TASKS
from tests.desk import REPO, WEIGHTS, Desk

VOCABULARY = Vocabulary(SCHEMES, frozenset(templates()), TASKS)
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


def bumped(desk: Desk, path: Path, *kinds: Kind, write: bool = True) -> Bumped:
    """Do what the command does, inside this process."""
    loaded, hub = fill(path, VOCABULARY), Hub(desk.shelf.endpoint, token=desk.token)
    return bump(loaded, Engine(loaded, desk.home, hub, hub, silent), ("source", *kinds), write=write)


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
    assert done.out == f"{path}: acme/tiny is at its newest commit, {desk.shelf.commit}\n"


@pytest.mark.parametrize("write", [True, False])
def test_what_moved_is_told_file_by_file_and_tensor_by_tensor(desk: Desk, write: bool) -> None:
    path, old, new = recipe(desk, desk.shelf.commit), desk.shelf.commit, moved(desk)
    desk.shelf.api.update_repo_settings(REPO, gated="auto")
    done = bumped(desk, path, write=write)
    assert (done.moved, done.written) == (True, write)
    (pin,) = done.pins
    assert (pin.before, pin.after, pin.gate) == (old, new, "auto")
    assert (found := pin.differences)
    assert set(found.files) == {WEIGHTS, "tokenizer/tokenizer_config.json", "notes.md", "README.md"}
    assert found.files["notes.md"] == (None, 3)
    assert found.files["tokenizer/tokenizer_config.json"][1] is None
    assert found.license == {"license": ("apache-2.0", "mit")}
    assert found.tensors["transformer/extra.weight"] == (None, "F32 [1, 64]")
    assert found.tensors["transformer/proj_out.weight"] == ("BF16 [64, 64]", "F32 [2, 64]")
    assert found.tensors["transformer/proj_out.bias"] == ("BF16 [64]", None)
    assert {name.split("/")[0] for name in found.tensors} == {"transformer"}  # no other component's are read
    assert path.read_text() == RECIPE.format(revision=f"\n  revision: {new if write else old}   # pinned")


def test_people_read_what_moved_and_programs_read_all_of_it(desk: Desk) -> None:
    path, new = recipe(desk, desk.shelf.commit), moved(desk)
    told = desk.publish("bump", path, "--check-only")
    lines = [line.strip() for line in told.out.splitlines()]
    assert lines[0] == f"{path}: acme/tiny {desk.shelf.commit[:12]} → {new[:12]}"
    assert lines[1] == "changed license: apache-2.0 → mit"
    assert "added notes.md: 3 B" in lines
    assert lines[-2].startswith("and ")  # a screen has so many lines
    assert lines[-1] == f"{path}: not written; to write it: publish bump {path}"
    done = desk.publish("--json", "bump", path, python=("-X", "importtime"))
    assert " torch\n" not in done.err
    ((pin,),) = [each["pins"] for each in done.lines[-1]["bumped"]]
    assert pin["differences"]["tensors"]["transformer/extra.weight"] == [None, "F32 [1, 64]"]
    assert new in path.read_text()


def test_a_commit_that_is_no_longer_there_is_told_and_moved_from(desk: Desk) -> None:
    path = recipe(desk, "0" * 39 + "1")
    (pin,) = bumped(desk, path).pins
    assert pin.note == "000000000000 cannot be compared: The repository has no such commit."
    assert desk.shelf.commit in path.read_text()


def test_everything_without_a_commit_is_filled_in_and_moves_when_it_is_asked_for(desk: Desk) -> None:
    api = desk.shelf.api
    for name in ("acme/clip", "acme/style"):
        api.create_repo(name)
    clip = desk.shelf.commit_files({"config.json": b"{}"}, "acme/clip")
    style = desk.shelf.commit_files({"pytorch_lora_weights.safetensors": b"x"}, "acme/style")
    api.create_repo("acme/style", repo_type="dataset")  # of one name with a model
    api.upload_file(path_or_fileobj=b"{}", path_in_repo="a.json", repo_id="acme/style", repo_type="dataset")
    path = recipe(desk)
    dataset = "{dataset: acme/style, split: train, column: text}"
    text = path.read_text().replace("prompts: prompts.jsonl", f"prompts: {dataset}")
    text = text.replace("{size_ratio: {max: 2.0}}", "{clip_score: {model: acme/clip, drop: {max: 1.0}}}")
    path.write_text(f"{text}loras:\n  - {{repo: acme/style, how: fused}}\n")
    found = {pin.kind: pin.after for pin in bumped(desk, path).pins}
    data = api.repo_info("acme/style", repo_type="dataset").sha
    assert found == {"source": desk.shelf.commit, "datasets": data, "judges": clip, "loras": style}
    assert desk.publish("check", path).code == 0
    later = desk.shelf.commit_files({"config.json": b"{ }"}, "acme/clip")
    assert not bumped(desk, path).moved
    assert [pin.after for pin in bumped(desk, path, "judges").pins] == [desk.shelf.commit, later]
    assert later in path.read_text()


def test_what_else_is_wrong_is_told_by_the_lines_of_the_file_and_nothing_is_written(desk: Desk) -> None:
    path = recipe(desk)
    written = path.read_text().replace("seeds: [3]", "seeds: [-3]")
    path.write_text(written)
    with pytest.raises(InvalidRecipe, match=r"recipe.yaml:11:11: -3 is out of range"):
        bumped(desk, path)
    assert path.read_text() == written


def test_a_recipe_that_changed_meanwhile_is_left_as_it_is(desk: Desk) -> None:
    path = recipe(desk)
    loaded, hub = (
        fill(path, Vocabulary(SCHEMES, frozenset(templates()), TASKS)),
        Hub(desk.shelf.endpoint, token="alice"),
    )
    path.write_text("# another\n")
    with pytest.raises(RecipeError, match="changed meanwhile"):
        bump(loaded, Engine(loaded, desk.home, hub, hub, silent), ("source",), write=True)
    assert path.read_text() == "# another\n"


def test_one_recipe_that_cannot_be_bumped_keeps_no_other_from_it(desk: Desk) -> None:
    path = recipe(desk)
    folder = desk.recipe(source={"path": "tiny"}, name="folder.yaml")
    (desk.folder / "tiny").mkdir()
    done = desk.publish("bump", folder, path)
    assert done.code == 2
    assert "It names no repository on the Hub whose commit is to be moved." in done.error
    assert desk.shelf.commit in path.read_text()


def test_what_recipes_include_is_passed_over_and_what_it_pins_is_moved_by_hand(desk: Desk) -> None:
    path = recipe(desk)
    source, rest = path.read_text().partition("task:")[::2]
    (desk.folder / "_part.yaml").write_text(source.replace("acme/tiny", f"acme/tiny\n  revision: {'0' * 40}"))
    done = desk.publish("bump", "_part.yaml", path)
    assert (done.code, desk.shelf.commit in path.read_text()) == (0, True), done.err
    path.write_text(f"include: _part.yaml\ntask:{rest}")
    done = desk.publish("watch", path, "_part.yaml")
    assert done.code == 0, done.err
    assert "it is pinned in a file that the recipe includes, which is moved by hand" in done.out


def test_a_newest_commit_that_is_no_whole_model_is_not_moved_to(desk: Desk) -> None:
    path = recipe(desk, desk.shelf.commit)
    desk.shelf.commit_files({WEIGHTS: None, "transformer/diffusion_pytorch_model.bin": b"pickle"})
    with pytest.raises(SourceError, match="pickles are never read"):
        bumped(desk, path)
    assert desk.shelf.commit in path.read_text()


def test_the_license_that_init_wrote_above_the_source_follows_it(desk: Desk) -> None:
    first = desk.shelf.commit_files({"README.md": b"---\nlicense: apache-2.0\n---\n"})
    path = recipe(desk, first)
    ours = "# FluxPipeline, 1.0 million parameters, 2.0 MB in memory; license: apache-2.0.\n"
    path.write_text(ours + "# Not ours; license: apache-2.0.\n" + path.read_text())
    moved(desk)
    bumped(desk, path)
    assert path.read_text().startswith(f"{ours.replace('apache-2.0', 'mit')}# Not ours; license: apache-2.0.\n")


@pytest.mark.parametrize(
    "first", ["# Ours; license: apache-2.0.", "# A, 1 million parameters, 2 MB in memory; license: b."]
)
def test_a_comment_that_somebody_wrote_stays(first: str) -> None:
    assert relicensed(f"{first}\nsource:\n", "apache-2.0", "mit") == f"{first}\nsource:\n"


@pytest.mark.parametrize(
    ("written", "after"),
    [
        (">-\n    COMMIT", ""),
        ("|-\n    COMMIT", ""),
        ("&at COMMIT", ""),
        ("&at COMMIT", "loras: [{repo: acme/tiny, revision: *at, how: fused}]\n"),
    ],
)
def test_a_commit_that_is_no_word_of_its_own_is_left_for_hands(desk: Desk, written: str, after: str) -> None:
    path = recipe(desk, desk.shelf.commit)
    text = path.read_text().replace(f"{desk.shelf.commit}   # pinned", written.replace("COMMIT", desk.shelf.commit))
    path.write_text(text + after)
    moved(desk)
    with pytest.raises(RecipeError, match="of acme/tiny cannot be replaced where it stands") as refused:
        bumped(desk, path)
    assert "without an anchor, an alias or `>`, then bump" in refused.value.remedy
    assert path.read_text() == text + after
    assert bumped(desk, path, write=False).moved


def test_what_would_not_be_read_back_is_not_written(desk: Desk) -> None:
    path = recipe(desk)
    text = path.read_text().replace("  repo: acme/tiny\n", "  repo: >-\n    acme/tiny\n")
    with pytest.raises(RecipeError, match="cannot be replaced where it stands"):
        rewritten(text, dict.fromkeys(find_pins(text), "0" * 40), path)


def test_a_link_stays_one_and_its_file_keeps_its_mode(desk: Desk) -> None:
    path, real = recipe(desk), desk.folder / "real.yaml"
    path.rename(real)
    real.chmod(0o664)
    path.symlink_to("real.yaml")
    assert bumped(desk, path).written
    assert path.is_symlink()
    assert desk.shelf.commit in real.read_text()
    assert stat.S_IMODE(real.stat().st_mode) == 0o664


def test_a_file_that_may_not_be_written_is_not(desk: Desk) -> None:
    path = recipe(desk)
    text = path.read_text()
    path.chmod(0o444)
    with pytest.raises(RecipeError, match="read-only, and is left as it is"):
        bumped(desk, path)
    assert (path.read_text(), stat.S_IMODE(path.stat().st_mode)) == (text, 0o444)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (RECIPE, f"{RECIPE}build: 2\n"),
        (RECIPE.rstrip("\n"), f"{RECIPE}build: 2\n"),
        (RECIPE.replace("\n", "\r\n"), f"{RECIPE}build: 2\n".replace("\n", "\r\n")),
        (f"build: 9   # since May\n{RECIPE}", f"build: 10   # since May\n{RECIPE}"),
    ],
)
def test_a_build_is_counted_up_and_every_other_character_stays(desk: Desk, before: str, after: str) -> None:
    path, at = recipe(desk), f"\n  revision: {desk.shelf.commit}"
    path.write_bytes(before.format(revision=at).encode())
    done = desk.publish("bump", "--build", path)
    assert done.code == 0, done.err
    assert path.read_bytes() == after.format(revision=at).encode()
    assert done.out.endswith(f"written; next: publish plan {path}\n")
    assert desk.publish("check", path).code == 0


@pytest.mark.parametrize("text", [f"{RECIPE}build: &n 1\nshared: *n\n", f"{RECIPE}...\n"])
def test_a_build_that_cannot_be_counted_up_where_it_stands_is_left_to_its_author(desk: Desk, text: str) -> None:
    path = recipe(desk)
    path.write_text(text.format(revision=f"\n  revision: {desk.shelf.commit}"))
    before = path.read_bytes()
    done = desk.publish("bump", "--build", path)
    assert done.code == 2
    assert path.read_bytes() == before

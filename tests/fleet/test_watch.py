"""Watch: what is published is tried with what is installed, and what somebody has to look at becomes a text."""

from __future__ import annotations

import json
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from PIL import Image, ImageOps
from safetensors.torch import load, save

from pipeline.backends import SCHEMES
from pipeline.backends.available import has_gpu
from pipeline.card.render import templates
from pipeline.cli.findings import Finding, findings, settled, write_findings
from pipeline.cli.watch import rebuilds
from pipeline.errors import PublishError
from pipeline.events import silent
from pipeline.fleet.bump import Bumped, fill
from pipeline.fleet.watch import Watch, WatchedRecipe, refused, watch_recipe
from pipeline.fleet.watched import Watched, keep_watched, read_watched
from pipeline.hub.client import Hub
from pipeline.recipe import Vocabulary
from pipeline.release.yank import yank
from pipeline.run import Engine
from pipeline.tasks import TASKS
from pipeline.validate.generate import failure_of
from pipeline.worker.session import WorkerDiedError
from tests.desk import REPO, TWO, Desk
from tests.fleet.conftest import Look

ONE = "alice/tiny-one"
BROKEN = {"transformer/config.json": b'{"_class_name": "FluxTransformer2DModel"}'}
VAE = "vae/diffusion_pytorch_model.safetensors"
NOTHING_OF_IT = 0.05  # seconds in which no library is imported


def watch(desk: Desk, hub: Hub, seconds: float = 300, *, keep: bool = False) -> Watch:
    return Watch(hub, desk.home, silent, seconds, keep)


def watched_recipe(desk: Desk, hub: Hub, path: Path) -> WatchedRecipe:
    loaded = fill(path, Vocabulary(SCHEMES, frozenset(templates()), TASKS))
    return watch_recipe(loaded, Engine(loaded, desk.home, hub, hub, silent))


def content(hub: Hub, name: str) -> bytes:
    found = hub.content(ONE, "main", name, 1 << 24)
    assert found is not None
    return found


def downloads(desk: Desk) -> set[str]:
    return {path.name for path in (desk.home / "store" / "fetch").iterdir()}


def broken(repo: str, since: str, **further: Any) -> Watched:
    return Watched(repository=repo, commit="c" * 40, loads=False, reason="No.", seen=since, since=since, **further)


def test_what_is_published_loads_answers_as_its_card_shows_and_leaves_no_download(desk: Desk) -> None:
    before = downloads(desk)
    done = desk.publish("--json", "watch", "recipe.yaml", python=("-X", "importtime"))
    assert done.code == 0, done.err
    assert " torch\n" not in done.err
    one, two = done.lines[-1]["repositories"]
    assert (one["repository"], one["loads"], one["made"]) == (ONE, True, one["versions"])
    assert one["reason"].endswith("as its card shows it")
    assert {"torch", "torchao", "diffusers", "transformers"} == one["versions"].keys()
    assert (two["loads"], two["reason"]) == ("unknown", "never published")
    assert [(each["moved"], len(each["pins"])) for each in done.lines[-1]["recipes"]] == [(False, 1)]
    assert downloads(desk) == before
    assert read_watched(desk.home)[ONE].commit == one["commit"]


def test_what_no_longer_loads_ends_with_10_is_marked_in_status_and_told_in_an_issue(desk: Desk, look: Look) -> None:
    commit = desk.shelf.commit_files(BROKEN, ONE)
    (desk.folder / "found").mkdir()
    for name in ("issue-alice--tiny-one", "bump-recipe.yaml"):
        (desk.folder / "found" / f"{name}.md").touch()
    recipe = desk.folder / "recipe.yaml"
    recipe.write_text("".join(f"{key}: {json.dumps(said)}\n" for key, said in json.loads(recipe.read_text()).items()))
    done = desk.publish("watch", "recipe.yaml", "--findings", "found")
    assert done.code == 10, done.err
    assert done.out.startswith(f"{ONE}@{commit[:12]}: does not load or answer with diffusers ")
    proposed = desk.folder / "found" / "rebuild-recipe.yaml" / "recipe.yaml"
    assert proposed.read_text() == f"{recipe.read_text()}build: 2\n"
    assert not (desk.folder / "found" / "bump-recipe.yaml.md").exists()  # its source has not moved
    assert (desk.folder / "found" / "rebuild-recipe.yaml.md").exists()
    file = desk.folder / "found" / "issue-alice--tiny-one.md"
    title, _, body = file.read_text().partition("\n")
    assert title.startswith(f"{ONE} does not load or answer with diffusers ")
    assert all(word in body for word in (commit, "expected shape", "| torchao |"))
    found = look()["one"]
    assert found.state == "broken"
    (mark,) = (each.text for each in found.findings if each.state == "broken")
    assert "(watch, 20" in mark
    assert "expected shape" in mark
    desk.shelf.commit_files({"notes.md": b"mended, perhaps"}, ONE)
    assert look()["one"].state == "edited"  # nothing is known of another commit


def test_what_could_not_be_looked_at_is_not_hidden_by_what_does_not_load(desk: Desk) -> None:
    desk.shelf.commit_files({"model_index.json": b"{"}, ONE)
    assert desk.publish("watch", ONE).code == 10
    assert desk.publish("watch", ONE, "alice/absent").code == 4


@pytest.mark.parametrize("what", ["picture", pytest.param("vae", marks=pytest.mark.nightly)])
def test_an_answer_that_is_none_or_another_than_the_card_shows_is_no_answer(desk: Desk, hub: Hub, what: str) -> None:
    if what == "picture":
        file = BytesIO()
        ImageOps.invert(Image.open(BytesIO(content(hub, "images/worst.png"))).convert("RGB")).save(file, format="PNG")
        desk.shelf.commit_files({"images/worst.png": file.getvalue()}, ONE)
    else:
        desk.shelf.commit_files({VAE: save({name: 0 * each for name, each in load(content(hub, VAE)).items()})}, ONE)
    found = watch(desk, hub).look(ONE)
    assert found.loads is False
    assert "its answer to 'seven' is" in found.reason
    assert ("another than its card shows" if what == "picture" else "one flat colour") in found.reason


def test_a_source_that_moved_is_told_with_its_differences_in_a_pull_request(desk: Desk, hub: Hub) -> None:
    path = desk.recipe(TWO)
    assert watched_recipe(desk, hub, path).moved is False
    moved = desk.shelf.commit_files({"notes.md": b"new", "README.md": b"---\nlicense: mit\n---\n# Tiny\n"})
    found = watched_recipe(desk, hub, path)
    assert found.moved is True
    (finding,) = findings([], [found], {}, {})
    assert (finding.kind, finding.title) == ("bump", f"Move {path} to {moved[:12]}")
    assert finding.text_of_recipe == path.read_text().replace(desk.shelf.commit, moved)
    assert f"{REPO} (source): {desk.shelf.commit} → {moved}" in finding.body
    assert "    changed license: apache-2.0 → mit\n    " in finding.body
    assert "    added notes.md: 3 B\n" in finding.body
    assert f"`publish bump {path}`" in finding.body


def test_a_source_that_is_gone_or_in_a_folder_moved_nowhere(desk: Desk, hub: Hub) -> None:
    desk.shelf.api.delete_repo(REPO)
    gone = watched_recipe(desk, hub, desk.recipe(TWO))
    assert (gone.moved, gone.exit_code) == ("unknown", 4)
    (desk.folder / "tiny").mkdir()
    assert watched_recipe(desk, hub, desk.recipe(TWO, {"path": "tiny"})).moved is False


@pytest.mark.skipif(has_gpu(), reason="there is a GPU")
def test_what_needs_a_gpu_is_not_known_without_one(desk: Desk, hub: Hub) -> None:
    plan = json.loads(content(hub, "publish/plan.json"))
    plan["components"]["transformer"]["quantization"]["scheme"] = "int4-weight-only"
    desk.shelf.commit_files({"publish/plan.json": json.dumps(plan).encode()}, ONE)
    found = watch(desk, hub).look(ONE)
    assert (found.loads, found.exit_code) == ("unknown", 0)
    assert "onto cuda only" in found.reason


def test_what_was_withdrawn_is_not_tried(desk: Desk, hub: Hub) -> None:
    yank(hub, ONE, "v1", "It draws fours")
    found = watch(desk, hub).look(ONE)
    assert (found.loads, found.reason) == ("unknown", "it was withdrawn: It draws fours.")


def test_of_what_is_not_there_or_not_ours_nothing_is_known(desk: Desk, hub: Hub) -> None:
    watcher = watch(desk, hub)
    assert "no publish/plan.json" in watcher.look(REPO).reason
    absent = watcher.look("alice/absent")
    assert (absent.loads, absent.exit_code) == ("unknown", 4)
    assert watcher.look("alice/absent", expected=False).exit_code == 0
    assert read_watched(desk.home) == {}


def test_what_takes_too_long_is_ended_and_its_download_kept_if_asked_or_there_before(desk: Desk, hub: Hub) -> None:
    before = downloads(desk)
    found = watch(desk, hub, NOTHING_OF_IT).look(ONE)
    assert (found.loads, "hung" in found.reason) == ("unknown", True)
    assert downloads(desk) == before
    watch(desk, hub, NOTHING_OF_IT, keep=True).look(ONE)
    (kept,) = downloads(desk) - before
    watch(desk, hub, NOTHING_OF_IT).look(ONE)
    assert kept in downloads(desk)


@pytest.mark.parametrize(
    ("words", "loads"),
    [
        ("ImportError: cannot import name 'X' from 'transformers'", False),
        ("ValueError: unexpected shape", False),
        ("ModuleNotFoundError: No module named 'x'", "unknown"),
        ("torch.OutOfMemoryError: no more", "unknown"),
    ],
)
def test_libraries_that_do_not_fit_are_no_fault_of_the_machine(words: str, loads: object) -> None:
    error = failure_of(WorkerDiedError(words, 1, words), "somewhere", "")
    assert isinstance(error, PublishError)
    assert refused(error)[0] == loads


def test_since_when_it_does_not_load_is_kept_until_it_does_or_is_another_commit(tmp_path: Path) -> None:
    first = keep_watched(tmp_path, broken(ONE, "2026-01-01"))
    later = broken(ONE, "2026-02-02")
    assert keep_watched(tmp_path, later).since == first.since
    keep_watched(tmp_path, later.model_copy(update={"loads": "unknown"}))
    assert read_watched(tmp_path)[ONE].loads is False
    assert keep_watched(tmp_path, later.model_copy(update={"commit": "d" * 40})).since == "2026-02-02"
    assert keep_watched(tmp_path, later.model_copy(update={"loads": True, "since": ""})).since == ""
    assert keep_watched(tmp_path, later).since == "2026-02-02"
    (tmp_path / "watch.json").write_text('{"alice": 1}')
    assert read_watched(tmp_path) == {}


def test_versions_that_it_was_not_made_with_are_those_that_are_named() -> None:
    made, here = {"torch": "2.13.0", "diffusers": "0.42.0"}, {"torch": "2.13.0", "diffusers": "0.43.0"}
    assert broken(ONE, "2026-01-01", made=made, versions=here).fault.endswith("with diffusers 0.43.0")
    assert broken(ONE, "2026-01-01", made=here, versions=here).fault.endswith("with diffusers 0.43.0, torch 2.13.0")


def test_three_findings_are_open_at_a_time_and_what_is_worst_comes_first(tmp_path: Path) -> None:
    tried = [broken("alice/new", "2026-03-03"), broken("alice/old", "2026-01-01"), broken("alice/other", "2026-03-04")]
    recipes = [WatchedRecipe(recipe=f"recipes/{name}.yaml", moved=True, text=f"{name}: 1") for name in ("a", "b")]
    made_by = {"alice/old": ("recipes/a.yaml", "one"), "alice/other": ("recipes/a.yaml", "two")}
    build = {"recipes/a.yaml": Bumped(recipe="recipes/a.yaml", moved=True, written=False, build=2, text="build: 2")}
    found = findings(tried, recipes, made_by, build)
    assert [(each.kind, each.about) for each in found] == [
        ("issue", "alice/old"),
        ("rebuild", "recipes/a.yaml"),
        ("issue", "alice/new"),
        ("issue", "alice/other"),
        ("bump", "recipes/a.yaml"),
        ("bump", "recipes/b.yaml"),
    ]
    assert "`publish run recipes/a.yaml --target one --rebuild`" in found[0].body
    assert [repo for repo in ("alice/old", "alice/new", "alice/other") if repo in found[1].body] == [*made_by]
    names = ["issue-alice--old.md", "rebuild-recipes--a.yaml.md", "issue-alice--new.md"]
    assert [path.name for path in write_findings(found, tmp_path)] == names
    assert (tmp_path / "rebuild-recipes--a.yaml" / "recipes" / "a.yaml").read_text() == "build: 2"
    (tmp_path / names[0]).write_text("")
    assert [path.name for path in write_findings(found, tmp_path)] == names  # and is told as it is now
    assert (tmp_path / names[0]).read_text() == found[0].text
    assert [path.name for path in write_findings(found[3:], tmp_path, names[1:2])] == ["issue-alice--other.md"]
    assert not (tmp_path / "rebuild-recipes--a.yaml").exists()
    assert (tmp_path / names[2]).exists()  # nobody knows otherwise


def test_a_build_is_proposed_once_until_it_was_published(desk: Desk) -> None:
    path, vocabulary = desk.folder / "recipe.yaml", Vocabulary(SCHEMES, frozenset(templates()), TASKS)
    said = json.loads(path.read_text())

    def proposed(build: int, published: int) -> list[int | None]:
        path.write_text("".join(f"{key}: {json.dumps(value)}\n" for key, value in {**said, "build": build}.items()))
        read, made_by = {str(path): fill(path, vocabulary)}, {ONE: (str(path), "one")}
        found = rebuilds([broken(ONE, "2026-01-01", build=published)], made_by, read, vocabulary)
        return [each.build for each in found.values()]

    assert proposed(1, 1) == [2]
    assert proposed(2, 1) == []
    assert proposed(2, 2) == [3]


def test_what_is_settled_is_known_to_be_and_else_stays_open() -> None:
    loads = {name: Watched(repository=f"alice/{name}", commit="c", loads=True, reason="", seen="") for name in "ab"}
    never = Watched(repository="alice/never", reason="never published", seen="")
    unseen = Watched(repository="alice/unseen", reason="The Hub is away.", seen="", exit_code=9)
    made_by = {f"alice/{name}": ("r.yaml", name) for name in ("a", "never")}
    recipes = [WatchedRecipe(recipe="r.yaml", moved=False), WatchedRecipe(recipe="s.yaml", moved="unknown")]
    issues = {"issue-alice--a.md", "issue-alice--b.md"}
    gone = Watched(repository="alice/gone", commit="c", reason="it was withdrawn", seen="", withdrawn=True)
    issues |= {"issue-alice--never.md", "issue-alice--gone.md"}
    assert settled([*loads.values(), never, unseen, gone], recipes, made_by) == {
        *issues,
        "bump-r.yaml.md",
        "rebuild-r.yaml.md",
    }
    assert settled([loads["a"], unseen], [], {**made_by, "alice/unseen": ("r.yaml", "unseen")}) == {"issue-alice--a.md"}
    assert settled([loads["a"], broken("alice/never", "")], [], made_by) == {"issue-alice--a.md"}


def test_findings_where_a_file_lies_are_refused(tmp_path: Path) -> None:
    (tmp_path / "found").touch()
    with pytest.raises(PublishError, match="Something else has this name"):
        write_findings([], tmp_path / "found")


def test_a_recipe_whose_path_is_no_text_is_told_of(tmp_path: Path) -> None:
    (written,) = write_findings([Finding("bump", "\udcff.yaml", "Move \udcff.yaml", "Read it.")], tmp_path)
    assert "Move \\udcff.yaml" in written.read_text()


def test_a_text_has_no_token_and_fits_into_an_issue() -> None:
    text = Finding("issue", ONE, "It broke", f"hf_{'a' * 34} " + "x" * 100_000).text
    assert text.startswith("It broke\n\nhf_… x")
    assert len(text) < 65_536

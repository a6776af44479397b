"""From a stranger's pull request to the published repositories, by every command of every workflow and no other."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import HfApi
from ruamel.yaml import YAML

from localhub.faults import Faults
from localhub.server import running
from pipeline.files import sha256_file
from pipeline.hub.release_files import MANIFEST, PLAN
from tests.desk import TOKENS, WORDS
from tests.hub_server.test_oidc import Actions, actions
from tests.workflows.forge import Forge, serving
from tests.workflows.runner import ELSEWHERE, ROOT, GitHub, Run, commands

__all__ = ["actions"]

SOURCE = "acme/tiny-bert"
READER = "guest"
PUBLISH, WATCH = (f"acme/recipes/.github/workflows/{name}.yml@refs/heads/main" for name in ("publish", "watch"))
MODEL = {"backend": "torchao", "scheme": "int8-weight-only", "dtype": "float32"}
TARGETS = {"int8": MODEL}
RECIPE = Path("recipes/tiny/recipe.yaml")


@pytest.fixture
def forge() -> Iterator[tuple[Forge, str]]:
    played = Forge()
    with serving(played) as address:
        yield played, address


@dataclass
class World:
    """GitHub, a Hub that trusts its workflow, and a fork."""

    github: GitHub
    forge: Forge
    api: HfApi
    faults: Faults

    @property
    def fork(self) -> Path:
        return self.github.folder / "fork"

    def propose(self, recipe: dict[str, Any]) -> tuple[str, str]:
        """Push a recipe to a fork's branch; return its commit, and that of its merge into main."""
        folder = self.fork / RECIPE.parent
        folder.mkdir(parents=True, exist_ok=True)
        YAML().dump(recipe, folder / "recipe.yaml")
        (folder / "words.jsonl").write_text("".join(json.dumps({"prompt": word}) + "\n" for word in WORDS))
        head = self.github.commit("Publish tiny-bert", at=self.fork)
        self.github.git("fetch", "--quiet", str(self.fork), "HEAD:refs/pull/1/head", "--force")
        return head, self.merge("refs/pull/1/head")

    def merge(self, head: str) -> str:
        """Return the commit that merges a branch into main, which is left as it is."""
        git = self.github.git
        git("checkout", "--quiet", "--detach", "main")
        git("merge", "--quiet", "--no-ff", "--no-edit", head)
        merged = git("rev-parse", "HEAD")
        git("checkout", "--quiet", "main")
        return merged

    def check(self, recipe: dict[str, Any]) -> str:
        """Propose a recipe, have it checked and shown, and return the merge."""
        head, merged = self.propose(recipe)
        self.forge.pulls[:] = [{"number": 1, "head": {"sha": head, "label": "stranger:tiny"}}]
        self.show(self.forge.pulls[0], merged)
        return merged

    def show(self, pull: dict[str, Any], merged: str) -> None:
        """Have a pull request checked, and shown beneath it what it would publish."""
        ref, (owner, _, branch) = f"refs/pull/{pull['number']}/merge", pull["head"]["label"].partition(":")
        run = self.github.start("check", "pull_request", {"pull_request": pull}, merged, ref)
        self.forge.artifacts[run.run_id] = [path.name for path in (run.folder / "artifacts").iterdir()]
        done = {
            "id": run.run_id,
            "event": "pull_request",
            "head_sha": pull["head"]["sha"],
            "head_branch": branch,
            "head_repository": {"full_name": f"{owner}/recipes", "owner": {"login": owner}},
            "pull_requests": [],  # as it is for forks
        }
        self.github.start("comment", "workflow_run", {"workflow_run": done}, self.github.git("rev-parse", "main"))

    def watch(self) -> list[dict[str, Any]]:
        """Run the watch, and return what is open then."""
        main = self.github.git("rev-parse", "main")
        self.github.start("watch", "schedule", {"schedule": "37 3 * * 6"}, main)
        assert self.github.failed == []
        return self.forge.open

    def publish(self, merged: str) -> Run:
        """Move main to a merge, and have it published."""
        before = self.github.git("rev-parse", "main")
        self.github.git("merge", "--quiet", "--ff-only", merged)
        run = self.github.start("publish", "push", {"before": before, "ref": "refs/heads/main"}, merged)
        assert self.github.failed == []
        return run

    def tags(self, target: str) -> list[str]:
        return sorted(tag.name for tag in self.api.list_repo_refs(f"acme/tiny-bert-{target}").tags)


@pytest.fixture
def world(embedder: Path, actions: Actions, forge: tuple[Forge, str], tmp_path: Path) -> Iterator[World]:
    trusted = [{"issuer": actions.address, "claims": {"workflow_ref": PUBLISH}}]
    repositories = [f"acme/tiny-bert-{target}" for target in TARGETS]
    readers = [
        {"issuer": actions.address, "claims": {"workflow_ref": ref}, "access": [SOURCE, *repositories]}
        for ref in (PUBLISH, WATCH)
    ]
    publishers = {**dict.fromkeys(repositories, trusted), READER: readers}
    (tmp_path / "hub").mkdir()
    (tmp_path / "hub" / "publishers.json").write_text(json.dumps(publishers))
    faults = Faults()
    with running(tmp_path / "hub", tokens=TOKENS, faults=faults) as endpoint:
        api = HfApi(endpoint=endpoint, token="alice")
        for repository in repositories:
            api.create_repo(repository, private=True)
        api.create_repo(SOURCE)
        api.upload_folder(repo_id=SOURCE, folder_path=embedder)
        github = GitHub(tmp_path / "github", endpoint, actions, forge[1], {"PUBLISH_READER": READER})
        github.create()
        for path in (github.repository / "recipes").glob("*.yaml"):
            path.unlink()  # their sources are not on this Hub
        github.commit("Publish no models of others")
        forge[0].repository = github.repository
        shutil.copytree(github.repository, github.folder / "fork")
        yield World(github, forge[0], api, faults)


def recipe(world: World, **source: str) -> dict[str, Any]:
    return {
        "source": {"repo": SOURCE, "revision": world.api.repo_info(SOURCE).sha, **source},
        "task": "feature-extraction",
        # What is public is signed by the workflow's identity, which needs sigstore.
        "destination": {"namespace": "acme", "name": "tiny-bert-{target}", "private": True},
        "targets": {name: {"model": part} for name, part in TARGETS.items()},
        "validation": {"prompts": "words.jsonl", "require": {"size_ratio": {"max": 2.0}}},
        "card": {"template": "feature-extraction"},
    }


def see_the_trial(world: World, comment: str) -> None:
    """Look for what was tried in a comment, and at the page that it links to by GitHub's numbers."""
    assert any(line.startswith("| `int8` | tried | PASS | ") for line in comment.splitlines())
    assert "tried on a tiny bert" in comment
    assert "https://github.example/acme/recipes/actions/runs/1/artifacts/77" in comment
    (page,) = (world.github.folder / "run-1" / "artifacts" / "trial").rglob("*.html")
    assert page.name == "report-int8.html"
    assert "tried on a tiny bert" in page.read_text()


def see_the_catalog(world: World, commit: str) -> None:
    """Have the catalog put on Pages, and look at it: the target is gated like its source at first, and then open."""
    github, page = world.github, world.github.site / "acme" / "tiny-bert-int8.html"
    world.api.update_repo_settings("acme/tiny-bert-int8", private=False)
    github.start("pages", "workflow_run", {"workflow_run": {"name": "publish"}}, commit)
    assert "could not be read" in (github.site / "index.html").read_text()
    assert not page.exists()
    world.api.update_repo_settings("acme/tiny-bert-int8", gated=False)
    github.start("pages", "workflow_dispatch", {}, commit)
    assert github.failed == []
    index = (github.site / "index.html").read_text()
    assert "acme/tiny-bert-int8.html" in index
    assert "could not be read" not in index
    assert "digits/" not in index
    assert "PASS" in page.read_text()


def changed(github: GitHub, branch: str) -> dict[str, list[str]]:
    """Return the lines that a branch adds to main and takes from it, by file."""
    found: dict[str, list[str]] = {}
    for file in github.git("diff", "--name-only", "main", branch).splitlines():
        shown = github.git("diff", "--unified=0", "main", branch, "--", file).splitlines()
        found[file] = [line for line in shown if line[:1] in {"+", "-"} and line[:3] not in {"+++", "---"}]
    return found


def newest(github: GitHub, lock: str, **versions: str) -> None:
    """Have pip find what is locked, with other versions of some packages."""
    found = []
    for line in lock.splitlines()[1:]:
        pin, _, digest = line.partition(" --hash=sha256:")
        name, _, version = pin.partition("==")
        metadata = {"name": name, "version": versions.get(name, version)}
        found.append({"metadata": metadata, "download_info": {"archive_info": {"hashes": {"sha256": digest}}}})
    (github.folder / "bin" / "newest.json").write_text(json.dumps({"install": found}))


@pytest.mark.nightly
@pytest.mark.timeout(3000)
def test_a_pull_request_of_a_stranger_is_published_and_every_command_of_every_workflow_was_executed(
    world: World,
) -> None:
    github = world.github

    # Opened: what it would publish is shown beneath it.
    world.check(recipe(world))
    assert github.failed == []
    (comment,) = world.forge.comments
    rows = [line for line in comment["body"].splitlines() if line.startswith("| `int8`")]
    assert rows[0].startswith("| `int8` | `acme/tiny-bert-int8` | ")
    assert rows[1].startswith("| `int8` | `model` | `torchao int8-weight-only` | ")
    see_the_trial(world, comment["body"])

    # The source is gated meanwhile, so the recipe names a token, which a fork does not get: that is shown, in place.
    world.api.update_repo_settings(SOURCE, gated="manual")
    merged = world.check(recipe(world, token="SOURCE_TOKEN"))
    assert github.failed == []
    (comment,) = world.forge.comments
    assert "SOURCE_TOKEN is not set" in comment["body"]
    assert world.faults.seen
    assert not [asked for asked in github.actions.asked if asked.startswith("/id-token")]

    # Merged: built once, released by a job a repository.
    world.faults.seen.clear()
    run = world.publish(merged)
    manifests = []
    for target in TARGETS:
        name = f"acme/tiny-bert-{target}"
        assert world.tags(target) == ["v1"]
        manifests.append(sha256_file(Path(world.api.hf_hub_download(name, MANIFEST))))
        plan = json.loads(Path(world.api.hf_hub_download(name, PLAN)).read_bytes())
        assert plan["components"]["model"]["quantization"]["scheme"] == TARGETS[target]["scheme"]
    assert github.attested == manifests
    built, *released = github.summaries[-1 - len(TARGETS) :]
    assert all(f"`{digest}`" in built for digest in manifests)
    assert all("published | PASS" in text and "/tree/" in text for text in released)
    # Only the job that makes has read the source.
    stores = {path.name for path in run.folder.glob("job-*/temp/publish/store/*")}
    assert {"fetch", "checkpoint", "report"} <= stores
    assert len(list(run.folder.glob("job-*/temp/publish/store/fetch"))) == 1

    follow_the_source(world)
    make_again(world)
    see_the_catalog(world, github.git("rev-parse", "main"))

    # Nothing is left that no test executes.
    github.start("nightly", "schedule", {}, github.git("rev-parse", "main"))
    assert set(github.ran) == set(commands())
    assert set(github.ran) - set(ELSEWHERE) == {command for command in commands() if command not in ELSEWHERE}


def follow_the_source(world: World) -> None:
    """The source moves: the watch proposes the new commit and nothing else, shown and published as any change is."""
    github = world.github
    for target in TARGETS:
        world.api.update_repo_settings(f"acme/tiny-bert-{target}", private=False)  # a watch has no token of theirs
    assert world.watch() == []
    world.api.upload_file(path_or_fileobj=b"news", path_in_repo="notes.md", repo_id=SOURCE)
    before, after = (world.api.list_repo_commits(SOURCE)[at].commit_id for at in (1, 0))
    (pull,) = world.watch()
    assert world.watch() == [pull]
    branch = "watch/bump-recipes--tiny--recipe.yaml"
    assert pull["title"] == f"Move {RECIPE} to {after[:12]}"
    assert changed(github, branch) == {str(RECIPE): [f"-  revision: {before}", f"+  revision: {after}"]}
    merged = world.merge(branch)
    world.show(world.forge.pulls[-1], merged)  # as soon as somebody approves it
    assert github.failed == []
    shown = next(one["body"] for one in world.forge.comments if one["beneath"] == pull["number"])
    assert "SOURCE_TOKEN is not set" in shown  # as for anybody's pull request
    for target in TARGETS:
        world.api.update_repo_settings(f"acme/tiny-bert-{target}", private=True)
    world.publish(merged)
    pull["state"] = "closed"
    assert [world.tags(target) for target in TARGETS] == [["v1", "v2"]] * len(TARGETS)


def make_again(world: World) -> None:
    """What is published no longer loads: told in an issue, and made again with newer versions when that is merged."""
    github = world.github
    (target,) = TARGETS
    name, broken = f"acme/tiny-bert-{target}", b'{"model_type": "bert", "hidden_size": 8}'
    config = Path(world.api.hf_hub_download(name, "config.json")).read_bytes()
    world.api.update_repo_settings(name, private=False)
    world.api.upload_file(path_or_fileobj=BytesIO(broken), path_in_repo="config.json", repo_id=name)
    lock = (github.repository / "requirements-publish.txt").read_text()
    newest(github, lock, torch="99.0")
    issue, pull = world.watch()
    assert issue["title"].startswith(f"{name} does not load or answer with ")
    assert pull["title"] == f"Make {RECIPE} again, as build 2"
    branch = "watch/rebuild-recipes--tiny--recipe.yaml"
    found = changed(github, branch)
    assert found.pop(str(RECIPE)) == ["+build: 2"]
    assert found.keys() == {"constraints.txt", "requirements-publish.txt"}
    assert all(line.startswith(("-torch==", "+torch==99.0")) for lines in found.values() for line in lines)
    world.api.upload_file(path_or_fileobj=BytesIO(config), path_in_repo="config.json", repo_id=name)
    world.api.update_repo_settings(name, private=True)
    world.publish(world.merge(branch))
    assert world.tags(target) == ["v1", "v2", "v3"]
    assert json.loads(Path(world.api.hf_hub_download(name, PLAN)).read_bytes())["build"] == 2
    world.api.update_repo_settings(name, private=False)
    assert world.watch() == []  # it loads


def test_what_decides_elsewhere_is_what_every_change_has_to_pass() -> None:
    deciding = (ROOT / ".ci" / "run").read_text().splitlines()
    assert {"make lint", "make browser", "make ggml", "make test"} <= set(deciding)
    tests, night = (
        next(line for line in (ROOT / "Makefile").read_text().split(f"\n{name}:")[1].splitlines() if "pytest" in line)
        for name in ("test", "nightly")
    )
    assert night == f"{tests} -m nightly"

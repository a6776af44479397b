"""From a stranger's pull request to the published repositories, by every command of every workflow and no other."""

from __future__ import annotations

import json
import re
import shutil
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import HfApi

from localhub.faults import Faults
from localhub.server import running
from pipeline.files import sha256_file
from pipeline.hub.release_files import MANIFEST, PLAN
from tests.desk import TOKENS, WORDS
from tests.hub_server.test_oidc import Actions, actions
from tests.workflows.runner import ELSEWHERE, ROOT, GitHub, commands

__all__ = ["actions"]

SOURCE = "acme/tiny-bert"
READER = "guest"
PUBLISH = "acme/recipes/.github/workflows/publish.yml@refs/heads/main"
MODEL = {"backend": "torchao", "scheme": "int8-weight-only", "dtype": "float32"}
TARGETS = {"int8": MODEL}
RECIPE = Path("recipes/tiny/recipe.yaml")


@dataclass
class Forge:
    """The part of GitHub's REST API that a comment needs."""

    pulls: list[dict[str, Any]] = field(default_factory=list)
    comments: list[dict[str, Any]] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)
    artifacts: dict[str, list[str]] = field(default_factory=dict)

    def answer(self, method: str, path: str, body: Any) -> Any:
        self.asked.append(f"{method} {path}")
        path, _, query = path.partition("?")
        assert path.startswith("/repos/acme/recipes/")
        if path.endswith("/pulls"):
            return [pull for pull in self.pulls if f"head={pull['head']['label'].replace(':', '%3A')}" in query]
        if found := re.fullmatch(r"/repos/acme/recipes/actions/runs/(\d+)/artifacts", path):
            named = [name for name in self.artifacts[found[1]] if query == f"name={name}"]
            return {"artifacts": [{"id": 77, "name": name, "expired": False} for name in named]}
        if method == "GET":
            return self.comments if "page=1" in query.split("&") else []
        if method == "POST":
            self.comments.append({"id": len(self.comments), "user": {"login": "github-actions[bot]"}, **body})
            return {}
        self.comments[int(path.rpartition("/")[2])] |= body
        return {}


@pytest.fixture
def forge() -> Iterator[tuple[Forge, str]]:
    played = Forge()

    class Answers(BaseHTTPRequestHandler):
        def do(self) -> None:
            assert self.headers["Authorization"] == "Bearer ghs_token"
            length = int(self.headers.get("Content-Length") or 0)
            answer = played.answer(self.command, self.path, json.loads(self.rfile.read(length) or "null"))
            content = json.dumps(answer).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = do_PATCH = do  # noqa: N815  as http.server calls them

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Answers)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield played, f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


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
        (folder / "recipe.yaml").write_text(json.dumps(recipe, indent=1))
        (folder / "words.jsonl").write_text("".join(json.dumps({"prompt": word}) + "\n" for word in WORDS))
        head = self.github.commit("Publish tiny-bert", at=self.fork)
        git, origin = self.github.git, self.github.repository
        git("fetch", "--quiet", str(self.fork), "HEAD:refs/pull/1/head", "--force")
        git("checkout", "--quiet", "--detach", "main")
        git("merge", "--quiet", "--no-ff", "--no-edit", "refs/pull/1/head")
        merged = git("rev-parse", "HEAD")
        git("checkout", "--quiet", "main", at=origin)
        return head, merged

    def check(self, recipe: dict[str, Any]) -> str:
        """Propose a recipe, have it checked and shown, and return the merge."""
        head, merged = self.propose(recipe)
        told = {"number": 1, "head": {"sha": head, "label": "stranger:tiny"}}
        self.forge.pulls[:] = [told]
        run = self.github.start("check", "pull_request", {"pull_request": told}, merged, "refs/pull/1/merge")
        self.forge.artifacts[run.run_id] = [path.name for path in (run.folder / "artifacts").iterdir()]
        done = {
            "id": run.run_id,
            "event": "pull_request",
            "head_sha": head,
            "head_branch": "tiny",
            "head_repository": {"full_name": "stranger/recipes", "owner": {"login": "stranger"}},
            "pull_requests": [],  # as it is for forks
        }
        self.github.start("comment", "workflow_run", {"workflow_run": done}, self.github.git("rev-parse", "main"))
        return merged


@pytest.fixture
def world(embedder: Path, actions: Actions, forge: tuple[Forge, str], tmp_path: Path) -> Iterator[World]:
    trusted = [{"issuer": actions.address, "claims": {"workflow_ref": PUBLISH}}]
    repositories = [f"acme/tiny-bert-{target}" for target in TARGETS]
    publishers = {**dict.fromkeys(repositories, trusted), READER: [{**trusted[0], "access": [SOURCE]}]}
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


@pytest.mark.nightly
@pytest.mark.timeout(1800)
def test_a_pull_request_of_a_stranger_is_published_and_every_command_of_every_workflow_was_executed(
    world: World,
) -> None:
    github, before = world.github, world.github.git("rev-parse", "main")

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
    github.git("merge", "--quiet", "--ff-only", merged)
    world.faults.seen.clear()
    run = github.start("publish", "push", {"before": before, "ref": "refs/heads/main"}, merged)
    assert github.failed == []
    manifests = []
    for target in TARGETS:
        name = f"acme/tiny-bert-{target}"
        assert [tag.name for tag in world.api.list_repo_refs(name).tags] == ["v1"]
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

    see_the_catalog(world, merged)

    # Nothing is left that no test executes.
    github.start("nightly", "schedule", {}, merged)
    assert set(github.ran) == set(commands())
    assert set(github.ran) - set(ELSEWHERE) == {command for command in commands() if command not in ELSEWHERE}


def test_what_decides_elsewhere_is_what_every_change_has_to_pass() -> None:
    deciding = (ROOT / ".ci" / "run").read_text().splitlines()
    assert {"make lint", "make browser", "make test"} <= set(deciding)
    tests, night = (
        next(line for line in (ROOT / "Makefile").read_text().split(f"\n{name}:")[1].splitlines() if "pytest" in line)
        for name in ("test", "nightly")
    )
    assert night == f"{tests} -m nightly"

"""Where a user sits: a Hub with a small source, a recipe, a home and the real command; made once for all tests."""

from __future__ import annotations

import fcntl
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi

from localhub.faults import Faults
from localhub.server import running
from pipeline.backends import SCHEMES
from pipeline.card.render import templates
from pipeline.errors import PublishError
from pipeline.events import Listener, silent
from pipeline.hub import xet
from pipeline.hub.client import Hub
from pipeline.recipe import Vocabulary, load
from pipeline.recipe.prompts import Question
from pipeline.run import Engine
from pipeline.store import Store
from pipeline.tasks import TASKS
from pipeline.tasks.answers import Request

XET = {name: os.environ[name] for name in ("HF_HUB_DISABLE_XET",) if name in os.environ}  # for children
CALL = {"height": 16, "width": 16, "num_inference_steps": 1, "max_sequence_length": 16}  # of the tiny model
needs_xet = pytest.mark.skipif(not xet.available(), reason="Xet is turned off")
REPO = "acme/tiny"
AGAIN = "Publish one (0123456789ab) (#2)"  # the title of another release of target one
TOKENS = {
    "alice": {"name": "alice", "role": "write", "orgs": ["acme"]},
    "reader": {"name": "alice", "role": "read"},
    "carol": {"name": "carol", "role": "write"},
}
WEIGHTS = "transformer/diffusion_pytorch_model.safetensors"
ONE = {"one": {"transformer": {"backend": "torchao", "scheme": "int8-weight-only"}}}
# They say how long something took; and safetensors writes the two entries of its metadata in any order.
DIFFERING = {"answers.json", "report.json", "README.md", "layers.safetensors"}
MODEL = {"one": {"model": {"backend": "torchao", "scheme": "int8-weight-only", "dtype": "float32"}}}
WORDS = [f"{one}{two}" for one in ("sea", "sun", "tree", "stone") for two in ("", "light", "bird")]
TWO = {**ONE, "two": {"transformer": {"backend": "quanto", "scheme": "int8"}}}


@dataclass
class Shelf:
    """An embedded Hub whose folder the test can reach into, and which fails as it is told."""

    endpoint: str
    root: Path
    commit: str
    faults: Faults = field(default_factory=Faults)

    @cached_property
    def api(self) -> HfApi:
        return Hub(self.endpoint, token="alice").api

    def commit_files(self, files: dict[str, bytes | None], repo: str = REPO, title: str = "Change files") -> str:
        """Commit files to main, None for those to delete, and return the commit. Open files go by LFS."""
        operations = [
            CommitOperationDelete(name) if content is None else CommitOperationAdd(name, BytesIO(content))
            for name, content in files.items()
        ]
        return str(self.api.create_commit(repo, operations, commit_message=title).oid)

    def history(self, repo: str) -> list[str]:
        return [commit.title for commit in self.api.list_repo_commits(repo)]

    def tags(self, repo: str) -> list[str]:
        return [tag.name for tag in self.api.list_repo_refs(repo).tags]

    def pulls(self, repo: str) -> list[str]:
        return [talk.status for talk in self.api.get_repo_discussions(repo, discussion_type="pull_request")]

    def object(self, sha256: str) -> Path:
        return self.root / "objects" / "sha256" / sha256[:2] / sha256


@dataclass(frozen=True)
class Done:
    """How the command ended."""

    code: int
    out: str
    err: str

    @property
    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.out.splitlines()]

    @property
    def error(self) -> str:
        """The paragraph that a user reads."""
        return "\n".join(line for line in self.err.splitlines() if line.startswith("error: "))


@dataclass
class Desk:
    """Where a user sits: a folder with recipes, a home, a Hub and a token."""

    folder: Path
    shelf: Shelf
    home: Path
    token: str = "alice"
    extra: dict[str, str] = field(default_factory=dict)

    def recipe(
        self,
        targets: Any = ONE,
        source: Any = None,
        require: Any = None,
        call: Any = None,
        name: str = "recipe.yaml",
        *,
        prompts: Any = "prompts.jsonl",
        destination: Any = None,
    ) -> Path:
        """Write a recipe; JSON is YAML too."""
        (self.folder / "prompts.jsonl").write_text('{"prompt": "seven"}\n')
        written = {
            "source": source or {"repo": REPO, "revision": self.shelf.commit},
            "task": "text-to-image",
            "destination": {"namespace": "alice", **(destination or {})},
            "targets": targets,
            "validation": {
                "prompts": prompts,
                "seeds": [3],
                "call": {name: value for name, value in {**CALL, **(call or {})}.items() if value is not None},
                "require": require or {"size_ratio": {"max": 2.0}},
            },
            "card": {"template": "text-to-image"},
        }
        path = self.folder / name
        path.write_text(json.dumps(written, indent=2) + "\n")
        return path

    def recipe_of_model(self, source: Path, task: str, targets: Any = MODEL, **validation: Any) -> Path:
        """Write a recipe of a single model, which is asked words."""
        (self.folder / "words.jsonl").write_text("".join(json.dumps({"prompt": word}) + "\n" for word in WORDS))
        written = {
            "source": {"path": str(source)},
            "task": task,
            "destination": {"namespace": "alice", "name": "tiny-bert-{target}"},
            "targets": targets,
            "validation": {"prompts": "words.jsonl", **validation},
            "card": {"template": "feature-extraction"},
        }
        path = self.folder / "model.yaml"
        path.write_text(json.dumps(written))
        return path

    @property
    def environment(self) -> dict[str, str]:
        kept = {name: os.environ[name] for name in ("PATH", "LANG", "TMPDIR", "OMP_NUM_THREADS") if name in os.environ}
        ours = {
            "HOME": str(self.folder),
            "HF_HOME": str(self.folder / "hf"),
            "HF_ENDPOINT": self.shelf.endpoint,
            "HF_TOKEN": self.token,
            "PUBLISH_HOME": str(self.home),
        }
        return {name: value for name, value in {**kept, **XET, **ours, **self.extra}.items() if value}

    def start(self, *arguments: object, python: tuple[str, ...] = (), **options: Any) -> subprocess.Popen[str]:
        """Start the command in a session of its own, as a terminal does."""
        return subprocess.Popen(
            [sys.executable, *python, "-m", "pipeline.cli", *map(str, arguments)],
            cwd=self.folder,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
            **options,
        )

    def publish(self, *arguments: object, **options: Any) -> Done:
        """Run the command."""
        child = self.start(*arguments, **options)
        out, err = child.communicate(timeout=300)
        return Done(child.returncode, out, err)

    def engine(self, recipe: Path, listen: Listener = silent, **options: Any) -> Engine:
        """Return what the command runs, inside this process."""
        vocabulary = Vocabulary(SCHEMES, frozenset(templates()), TASKS)
        hub = Hub(self.shelf.endpoint, token=self.token)
        return Engine(load(recipe, vocabulary), self.home, hub, hub, listen, **options)

    def refused(self, recipe: Path, target: str = "one", listen: Listener = silent) -> PublishError:
        """Run a target that must not succeed and return the error."""
        (ended,) = self.engine(recipe, listen).run([target])
        assert isinstance(ended, PublishError), "nothing was refused"
        return ended

    def plain(self, text: str) -> str:
        """Return a message without what differs from run to run."""
        text = text.removeprefix("error: ").replace(str(self.home), "HOME").replace(str(self.folder), "FOLDER")
        text = text.replace(self.shelf.endpoint, "HUB")
        text = re.sub(r"\d{4}-\d\d-\d\d \d\d:\d\d UTC", "DATE", text)
        return re.sub(r"\b[0-9a-f]{40}\b|\b[0-9a-f]{12}\b|\b[0-9a-f]{64}\b", "DIGEST", text)


def torn(store: Store, stage: str) -> None:
    """Put a sealed result back to where it is made, as a kill leaves it: some files lack, and one is half."""
    for sealed in list((store.root / stage).iterdir()):
        half = store.unfinished(stage, sealed.name)
        half.parent.mkdir(exist_ok=True)
        sealed.rename(half)
        files = sorted(path for path in half.rglob("*") if path.is_file())
        for path in files[1::2]:
            path.unlink()
        content = files[0].read_bytes()
        files[0].unlink()  # its other links keep their bytes
        files[0].write_bytes(content[: len(content) // 2])


def contents(home: Path, stage: str) -> dict[str, bytes]:
    """Return the files of a stage's results by their names there, without those that differ from run to run."""
    found = (home / "store" / stage).glob("*/**/*")
    return {
        "/".join(path.relative_to(home / "store" / stage).parts[1:]): path.read_bytes()
        for path in found
        if path.is_file() and path.name not in DIFFERING and "publish" not in path.parts
    }


@contextmanager
def opened(root: Path, stocked: Shelf) -> Iterator[Shelf]:
    """Run a copy of a Hub's folder."""
    faults = Faults()
    with running(root, tokens=TOKENS, faults=faults) as endpoint:
        yield Shelf(endpoint, root, stocked.commit, faults)


def stop(child: subprocess.Popen[str], number: signal.Signals) -> Done:
    """Send a signal and wait for the end."""
    child.send_signal(number)
    out, err = child.communicate(timeout=60)
    return Done(child.returncode, out, err)


def once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], None]) -> Path:
    """Return a folder that one process of a test run makes for all of them; nobody writes into it."""
    base = factory.getbasetemp()
    root = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    folder, making = root / name, root / f"{name}.making"
    with (root / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.exists():
            shutil.rmtree(making, ignore_errors=True)
            making.mkdir()
            make(making)
            making.rename(folder)
    return folder


@pytest.fixture(scope="session")
def stocked(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Shelf:
    """The folder of a Hub that has the source; copied for each test, and stopped."""

    def make(folder: Path) -> None:
        with running(folder / "hub", tokens=TOKENS) as endpoint:
            shelf = Shelf(endpoint, folder / "hub", "")
            shelf.api.create_repo(REPO)
            files = {path.relative_to(source).as_posix(): path for path in source.rglob("*") if path.is_file()}
            card = b"---\nlicense: apache-2.0\npipeline_tag: text-to-image\n---\n# Tiny\n"
            content = {name: path.read_bytes() for name, path in files.items()}
            (folder / "commit").write_text(shelf.commit_files({**content, "README.md": card}))

    folder = once(tmp_path_factory, "stocked", make)
    return Shelf("", folder / "hub", (folder / "commit").read_text())


@pytest.fixture(scope="session")
def answers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What libraries said to any test, kept by the digest of the question: asking takes seconds."""
    return once(tmp_path_factory, "answers", lambda _: None)


def home_in(folder: Path, answers: Path) -> Path:
    """Make a home that is new, except for what libraries said to others."""
    home = folder / "home"
    home.mkdir(parents=True)
    (home / "answers").symlink_to(answers)
    return home


def seat(folder: Path, shelf: Shelf, answers: Path) -> Desk:
    """Return a desk beside a Hub, with nothing on it and a home that is new."""
    (folder / "desk").mkdir()
    return Desk(folder / "desk", shelf, home_in(folder, answers))


@contextmanager
def desk_in(folder: Path, stocked: Shelf, answers: Path) -> Iterator[Desk]:
    """Return a desk beside a copy of a Hub's folder."""
    shutil.copytree(stocked.root, folder / "hub", symlinks=True)
    with opened(folder / "hub", stocked) as shelf:
        yield seat(folder, shelf, answers)


@pytest.fixture(scope="session")
def ready(stocked: Shelf, answers: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home in which target ``one`` has come as far as its card; copied for each test that releases it."""

    def make(folder: Path) -> None:
        shutil.copytree(stocked.root, folder / "hub", symlinks=True)
        with opened(folder / "hub", stocked) as shelf:
            desk = Desk(folder, shelf, home_in(folder, answers))
            done = desk.publish("run", desk.recipe(TWO), "--target", "one", "--stop-after", "card")
            assert done.code == 0, done.err
            assert desk.publish("plan", folder / "recipe.yaml").code == 0

    return once(tmp_path_factory, "ready", make) / "home"


def asked(*prompts: str, seeds: tuple[int, ...] = (3,), **further: Any) -> Request:
    """Return a request for pictures of some prompts."""
    questions = tuple(Question(prompt=prompt) for prompt in prompts)
    return Request(task="text-to-image", questions=questions, seeds=seeds, **further)

"""One signed release, made once; each test has a copy of its Hub that it may damage."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from localhub.faults import Faults
from localhub.server import running
from pipeline.backends import SCHEMES
from pipeline.card.render import templates
from pipeline.errors import VerificationError
from pipeline.events import Listener, silent
from pipeline.hub.client import Hub
from pipeline.recipe import Vocabulary
from pipeline.tasks import TASKS
from pipeline.verify.verification import Verified, Wanted, verify
from tests.desk import TOKENS, Desk, Shelf, once, opened

REPO = "alice/tiny-one"
VOCABULARY = Vocabulary(SCHEMES, frozenset(templates()), TASKS)


@dataclass
class Consumer(Desk):
    """Somebody who has an empty home, and nothing of what the publisher has but the public key."""

    faults: Faults = field(default_factory=Faults)

    @property
    def hub(self) -> Hub:
        return Hub(self.shelf.endpoint, token="reader")

    def verify(
        self, wanted: Wanted | None = None, listen: Listener = silent
    ) -> tuple[Verified, VerificationError | None]:
        """Verify inside this process, which is quick; loading is left to those tests that are about it."""
        return verify(self.hub, REPO, wanted or Wanted(load=False), self.home, VOCABULARY, listen)

    def refusal(self, wanted: Wanted | None = None) -> str:
        """Return the paragraph of a verification that must fail."""
        found, failure = self.verify(wanted)
        assert failure is not None, found
        assert found.checks[-1].state == "failed"
        assert not found.passed
        return str(failure)

    def change(self, files: dict[str, bytes | None]) -> None:
        """Commit files to main, as somebody with a right to write there can."""
        self.shelf.commit_files(files, REPO)

    def listed(self, files: dict[str, bytes | None]) -> dict[str, bytes | None]:
        """Return files with a manifest that has them, as somebody would commit who knows of manifests."""
        manifest = json.loads(self.release["publish/manifest.json"])
        for name, content in files.items():
            manifest["files"].pop(name, None)
            if content is not None:
                manifest["files"][name] = {"size": len(content), "sha256": hashlib.sha256(content).hexdigest()}
        return {**files, "publish/manifest.json": json.dumps(manifest).encode()}

    @property
    def key(self) -> Path:
        return self.shelf.root.parent / "key.pub"

    @property
    def release(self) -> dict[str, bytes]:
        """The files as they were published."""
        folder = self.shelf.root.parent / "release"
        return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def keys(folder: Path) -> Path:
    """Make a private and a public key and return the private one."""
    folder.mkdir(exist_ok=True)
    private, public = folder / "key.pem", folder / "key.pub"
    make = ["openssl", "ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", private]
    subprocess.run(make, check=True, capture_output=True)
    subprocess.run(["openssl", "ec", "-in", private, "-pubout", "-out", public], check=True, capture_output=True)
    return private


def sharing(recipe: Path) -> Path:
    """Leave to a recipe its source and a target that names no scheme; what it includes says the rest."""
    written = json.loads(recipe.read_text())
    own = {"source": written.pop("source"), "targets": {"one": {"transformer": {"dtype": "bfloat16"}}}}
    written["defaults"] = written.pop("targets")["one"]
    (recipe.parent / "mine").mkdir()
    (recipe.parent / "common.yaml").write_text(json.dumps(written))
    recipe.unlink()
    (recipe.parent / "mine" / "recipe.yaml").write_text(json.dumps({"include": "../common.yaml", **own}))
    return recipe.parent / "mine" / "recipe.yaml"


@pytest.fixture(scope="session")
def released(stocked: Shelf, ready: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a Hub with one signed release, and beside it the public key and the release's folder."""

    def make(folder: Path) -> None:
        shutil.copytree(stocked.root, folder / "hub", symlinks=True)
        shutil.copytree(ready, folder / "home", symlinks=True)
        private = keys(folder)
        with opened(folder / "hub", stocked) as shelf:
            desk = Desk(folder, shelf, folder / "home", extra={"PUBLISH_SIGNING_KEY": str(private)})
            done = desk.publish("run", sharing(desk.recipe()))
            assert done.code == 0, done.err
        (signed,) = (folder / "home" / "store" / "signed").iterdir()
        shutil.copytree(signed, folder / "release")
        (folder / "published.log").write_text(done.out + done.err)

    return once(tmp_path_factory, "signed", make)


@pytest.fixture
def consumer(released: Path, stocked: Shelf, tmp_path: Path) -> Iterator[Consumer]:
    shutil.copytree(released / "hub", tmp_path / "hub", symlinks=True)
    shutil.copytree(released / "release", tmp_path / "release")
    shutil.copy(released / "key.pub", tmp_path)
    (tmp_path / "consumer").mkdir()
    faults = Faults()
    with running(tmp_path / "hub", tokens=TOKENS, faults=faults) as endpoint:
        shelf = Shelf(endpoint, tmp_path / "hub", stocked.commit)
        yield Consumer(tmp_path / "consumer", shelf, tmp_path / "consumer" / "home", token="reader", faults=faults)

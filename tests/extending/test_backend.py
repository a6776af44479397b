"""A quantization backend is one folder and one entry of a dict: a stranger adds one and changes nothing else."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import venv
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import pipeline.cards
import pytest

import localhub
import pipeline
from pipeline.source.safetensors import read_header
from tests.desk import WEIGHTS, Desk, Done, Shelf, opened

HERE = Path(__file__).parent
ONE = {"one": {"transformer": {"backend": "rows8", "scheme": "int8", "keep": ["proj_out"]}}}


@dataclass
class Stranger(Desk):
    """Somebody with a checkout and a Python of their own, in which a library of theirs is installed."""

    python: str = ""

    def publish(self, *arguments: object, **_: Any) -> Done:
        command = [self.python, "-m", "pipeline.cli", *map(str, arguments)]
        given = {"cwd": self.folder, "env": self.environment}
        done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=400, **given)
        return Done(done.returncode, done.stdout, done.stderr)


def folder_of(package: ModuleType) -> Path:
    return Path(package.__file__ or "").parent


def contents(root: Path) -> dict[str, str]:
    """Return the code under a folder, without the templates, which lie elsewhere in a checkout."""
    files = {path.relative_to(root).as_posix(): path.read_text() for path in root.rglob("*.py")}
    return {name: text for name, text in files.items() if not name.startswith("cards/")}


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Everything that is installed of this program, and what a stranger adds to it."""
    root = tmp_path_factory.mktemp("checkout")
    compiled = shutil.ignore_patterns("__pycache__")
    for package in (pipeline, pipeline.cards, localhub):
        to = root / package.__name__.replace(".", "/")
        shutil.copytree(folder_of(package), to, ignore=compiled, dirs_exist_ok=True)
    backends = root / "pipeline" / "backends"
    (backends / "rows8").mkdir()
    shutil.copy(HERE / "backend.py", backends / "rows8" / "__init__.py")
    text = (backends / "__init__.py").read_text()
    text = text.replace("import bitsandbytes, quanto, torchao", "import bitsandbytes, quanto, rows8, torchao")
    text = text.replace('    "quanto": quanto,\n', '    "quanto": quanto,\n    "rows8": rows8,\n')
    (backends / "__init__.py").write_text(text)
    return root


@pytest.fixture(scope="module")
def python(checkout: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A Python that has the checkout, the stranger's library, and what is installed here."""
    folder = tmp_path_factory.mktemp("python")
    venv.create(folder, symlinks=True)
    (packages,) = folder.glob("lib/python*/site-packages")
    shutil.copytree(HERE / "rows8", packages / "rows8")
    (packages / "rows8-1.0.dist-info").mkdir()
    (packages / "rows8-1.0.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: rows8\nVersion: 1.0\n")
    installed = [path for path in sys.path if path.endswith("site-packages")]
    (packages / "checkout.pth").write_text("\n".join([str(checkout), *installed]) + "\n")
    return str(folder / "bin" / "python")


@pytest.fixture
def stranger(stocked: Shelf, python: str, tmp_path: Path) -> Iterator[Stranger]:
    shutil.copytree(stocked.root, tmp_path / "hub", symlinks=True)
    (tmp_path / "desk").mkdir()
    with opened(tmp_path / "hub", stocked) as shelf:
        yield Stranger(tmp_path / "desk", shelf, tmp_path / "home", python=python)


def test_a_stranger_adds_one_folder_and_one_entry(checkout: Path) -> None:
    before, after = (contents(root) for root in (folder_of(pipeline), checkout / "pipeline"))
    touched = {name for name in after if after[name] != before.get(name)}
    assert touched == {"backends/__init__.py", "backends/rows8/__init__.py"}
    own, theirs = (found["backends/__init__.py"].splitlines() for found in (before, after))
    assert len(set(theirs) - set(own)) == 2, "an import and an entry"


def test_what_a_strangers_library_made_is_planned_made_judged_published_and_verified(stranger: Stranger) -> None:
    recipe = stranger.recipe(ONE)
    planned = stranger.publish("plan", recipe, "--json")
    assert planned.code == 0, planned.err
    part = planned.lines[-1]["plan"]["components"]["transformer"]
    assert part["estimated"]
    done = stranger.publish("run", recipe)
    assert done.code == 0, done.err
    release = stranger.shelf.api.snapshot_download("alice/tiny-one", local_dir=stranger.folder / "release")
    served = read_header(Path(release) / WEIGHTS)
    codes = [name for name, slot in served.items() if slot.dtype == "I8"]
    assert len(codes) == part["tensors"]
    assert "proj_out.weight" not in codes
    assert part["result_bytes"] == pytest.approx(sum(slot.end - slot.begin for slot in served.values()), rel=0.05)
    card = (Path(release) / "README.md").read_text()
    assert "import rows8\n" in card
    assert "It takes about " in card
    assert "rows8 1.0" in card
    config = json.loads((Path(release) / "transformer" / "config.json").read_text())
    assert config["quantization_config"] == {"quant_method": "rows8", "modules_to_not_convert": ["proj_out"]}
    assert "_name_or_path" not in config
    verified = stranger.publish("verify", "alice/tiny-one", "--rebuild", "--json")
    assert verified.code == 0, verified.err
    checks = {check["name"]: check["state"] for check in verified.lines[-1]["result"]["checks"]}
    assert checks["loads"] == checks["rebuild"] == "passed"

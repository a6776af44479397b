"""A Hub on which one target of a recipe was released by the real command; each test has a copy that it may change."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from localhub.faults import Faults
from localhub.server import running
from pipeline.backends import SCHEMES
from pipeline.card.render import templates
from pipeline.fleet.status import FleetStatus, TargetStatus
from pipeline.hub.client import Hub
from pipeline.hub.retry import RetryPolicy
from pipeline.recipe import Vocabulary, load
from pipeline.tasks import TASKS
from tests.desk import TOKENS, TWO, Desk, Shelf, once, opened

HASTY = RetryPolicy(progress=2.0)


@pytest.fixture(scope="session")
def released(ready: Path, stocked: Shelf, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the Hub that has target ``one``, the home that made it, and the recipe."""

    def make(folder: Path) -> None:
        shutil.copytree(stocked.root, folder / "hub", symlinks=True)
        shutil.copytree(ready, folder / "home")
        with opened(folder / "hub", stocked) as shelf:
            desk = Desk(folder, shelf, folder / "home")
            done = desk.publish("run", desk.recipe(TWO), "--target", "one")
            assert done.code == 0, done.err

    return once(tmp_path_factory, "released", make)


@pytest.fixture
def faults() -> Faults:
    """What the Hub does wrong; a test adds to it."""
    return Faults([])


@pytest.fixture
def desk(released: Path, stocked: Shelf, faults: Faults, tmp_path: Path) -> Iterator[Desk]:
    """A maintainer of what was released, with the home in which it was made."""
    shutil.copytree(released / "hub", tmp_path / "hub", symlinks=True)
    shutil.copytree(released / "home", tmp_path / "home")
    (tmp_path / "desk").mkdir()
    with running(tmp_path / "hub", tokens=TOKENS, faults=faults) as endpoint:
        made = Desk(tmp_path / "desk", Shelf(endpoint, tmp_path / "hub", stocked.commit), tmp_path / "home")
        made.recipe(TWO)
        yield made


@pytest.fixture
def hub(desk: Desk) -> Hub:
    found = Hub(desk.shelf.endpoint, token=desk.token, patience=HASTY)
    assert found.api.endpoint == desk.shelf.endpoint  # from here on this process may send the token there
    return found


Look = Callable[..., dict[str, TargetStatus]]


@pytest.fixture
def look(desk: Desk, hub: Hub) -> Look:
    """Return where the targets of recipes stand."""

    def standings(*recipes: Path) -> dict[str, TargetStatus]:
        vocabulary = Vocabulary(SCHEMES, frozenset(templates()), TASKS)
        loaded = [load(path, vocabulary) for path in recipes or [desk.folder / "recipe.yaml"]]
        return {found.target: found for found in FleetStatus(loaded, desk.home, hub, hub).standings()}

    return standings


@contextmanager
def changed(path: Path, old: str, new: str) -> Iterator[None]:
    """Replace a word in a file for a while."""
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))
    yield
    path.write_text(text)

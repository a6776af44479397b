"""Killed and started again, a run makes what it makes in one go: whatever was half made, and whatever kind of run."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from pipeline.errors import PublishError
from pipeline.events import Event, Listener, silent
from pipeline.plan.questions import request_of
from pipeline.run import Engine, Run
from pipeline.store import Store
from pipeline.validate.follow_up import FollowUpChecks
from tests.desk import REPO, TWO, Desk, contents, torn

VARIED = "acme/varied"
QUANTIZED = ("transformer", "text_encoder_2")
PARTS = {"one": {name: {"backend": "torchao", "scheme": "int8-weight-only"} for name in QUANTIZED}}


def test_whatever_a_kill_left_half_made_is_made_whole(ready_desk: Desk) -> None:
    desk, stages = ready_desk, ("fetch", "checkpoint", "reference", "answers", "report", "release")
    before = {stage: contents(desk.home, stage) for stage in stages}
    for stage in reversed(stages):
        torn(Store(desk.home / "store"), stage)
    done = desk.publish("run", desk.recipe(TWO), "--target", "one", "--stop-after", "card")
    assert done.code == 0, done.err
    assert {stage: contents(desk.home, stage) for stage in stages} == before
    left = [path.name for path in (desk.home / "store" / "making").iterdir()]
    assert all(name.startswith("release-") for name in left)  # a report that tells other times makes another release


def renamed(name: str) -> str:
    """Return the name of a file of weights as a variant has it."""
    return name.replace(".safetensors", ".fp16.safetensors")


@pytest.fixture
def varied(desk: Desk, source: Path) -> dict[str, str]:
    """A source on the Hub whose weights are a variant."""
    desk.shelf.api.create_repo(VARIED)
    files = [path for path in source.rglob("*") if path.is_file()]
    commit = desk.shelf.commit_files(
        {renamed(path.relative_to(source).as_posix()): path.read_bytes() for path in files}, VARIED
    )
    return {"repo": VARIED, "revision": commit, "variant": "fp16"}


def left_after(number: int, stage: str) -> Listener:
    """Return a listener that ends a run at some progress of a stage, as Ctrl-C does."""
    left = [number]

    def hear(event: Event) -> None:
        if (event.kind, event.stage) == ("progress", stage):
            left[0] -= 1
            if not left[0]:
                raise KeyboardInterrupt

    return hear


def ended(engine: Engine) -> None:
    (ended,) = engine.run(["one"], "quantize")
    if isinstance(ended, PublishError):
        raise ended


@pytest.fixture
def begin(desk: Desk, varied: dict[str, str], source: Path) -> Callable[..., Engine]:
    """Return the engine of a run of some kind."""
    answers = desk.home / "answers"

    def begin(kind: str, home: Path, listen: Listener = silent) -> Engine:
        sources = {"variant": varied, "folder": {"path": str(source)}}
        recipe = desk.recipe(PARTS, source=sources.get(kind, {"repo": REPO, "revision": desk.shelf.commit}))
        home.mkdir(exist_ok=True)
        if not (home / "answers").exists():
            (home / "answers").symlink_to(answers)
        desk.home = home
        engine = desk.engine(recipe, listen, stream=kind == "streamed")
        if kind != "scarce":
            return engine
        plan, _ = engine.plan("one")
        quantized = sum(part.result_bytes for part in plan.components.values())
        room = plan.source_bytes - sum(part.source_bytes for part in plan.components.values()) + quantized + 200_000

        def free(folder: Path) -> int:
            sizes = {state.st_ino: state.st_size for path in folder.rglob("*.safetensors") for state in [path.stat()]}
            return max(room - sum(sizes.values()), 0)

        return desk.engine(recipe, listen, shared=Store(home / "store", room=free))

    return begin


@pytest.mark.parametrize("kind", ["plain", "variant", "folder", "streamed", "scarce"])
def test_killed_and_resumed_is_uninterrupted(begin: Callable[..., Engine], tmp_path: Path, kind: str) -> None:
    ended(begin(kind, tmp_path / "whole"))
    whole = contents(tmp_path / "whole", "checkpoint")
    assert whole
    for stage, number in (("fetch", 20), ("quantize", 1), ("quantize", 3)):
        with suppress(KeyboardInterrupt):
            ended(begin(kind, tmp_path / "killed", left_after(number, stage)))
    ended(begin(kind, tmp_path / "killed"))
    assert contents(tmp_path / "killed", "checkpoint") == whole
    assert not list((tmp_path / "killed" / "store" / "making").iterdir())


def test_a_kill_while_a_variant_is_laid_out_leaves_a_folder_that_the_next_run_fills(
    begin: Callable[..., Engine], tmp_path: Path
) -> None:
    engine = begin("variant", tmp_path / "home")
    plan, _ = engine.plan("one")

    def lay_out(engine: Engine) -> Path:
        run: Any = Run(engine, plan, {}, "validate")
        origin = engine.together([run], "fetch")
        return run.reference(origin, FollowUpChecks(plan, (), request_of(plan), engine.store, silent))  # type: ignore[no-any-return]

    laid = lay_out(engine)
    whole = contents(tmp_path / "home", "plain")
    assert "transformer/diffusion_pytorch_model.safetensors" in whole
    torn(engine.store, "plain")
    assert lay_out(begin("variant", tmp_path / "home")) == laid
    assert contents(tmp_path / "home", "plain") == whole

"""A run that its disk can hold is not refused when it is started again: what is there already takes no more room."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pipeline.errors import CannotHereError, PublishError
from pipeline.events import Event, Listener, silent
from pipeline.plan.model import TargetPlan
from pipeline.quantize.room import result_to_come, source_to_come
from pipeline.run import Engine, Run
from pipeline.source.layout import Folder
from pipeline.store import Store
from tests.desk import WEIGHTS, Desk

INT8 = {"backend": "torchao", "scheme": "int8-weight-only"}
SPARE = 100_000  # bytes for journals, configs and what else is small


def disk(desk: Desk, size: int) -> Store:
    """Return the store of a home on a disk of so many bytes."""

    def left(folder: Path) -> int:
        files = {
            state.st_ino: state.st_size for path in folder.rglob("*") if (state := path.lstat()).st_mode & 0o100000
        }
        return max(size - sum(files.values()), 0)

    return Store(desk.home / "store", room=left)


def interrupted(stage: str, after: Callable[[Event], bool] = bool) -> Listener:
    """Return a listener that ends a run when so much of a stage was heard."""

    def hear(event: Event) -> None:
        if (event.kind, event.stage) == ("progress", stage) and event.done and after(event):
            raise KeyboardInterrupt

    return hear


@pytest.fixture
def begin(desk: Desk) -> Callable[..., tuple[Engine, TargetPlan]]:
    """Begin a run on a disk of a size that is reckoned from the plan."""

    def begin(size: Callable[[TargetPlan], int], listen: Listener = silent, **options: Any) -> Any:
        parts = {"transformer": INT8, "text_encoder_2": INT8}
        recipe = desk.recipe({"one": parts})
        plan, _ = desk.engine(recipe).plan("one")
        return desk.engine(recipe, listen, shared=disk(desk, size(plan)), **options), plan

    return begin


def quantized(plan: TargetPlan) -> int:
    return sum(part.result_bytes for part in plan.components.values())


def beside(plan: TargetPlan) -> int:
    """Return the bytes of source and result, of which the result has those files in common that are not quantized."""
    return plan.source_bytes + quantized(plan) + SPARE


def ended(engine: Engine, stage: str = "quantize") -> Any:
    (ended,) = engine.run(["one"], stage)
    if isinstance(ended, PublishError):
        raise ended
    return ended


def origin(engine: Engine, plan: TargetPlan, stage: str) -> Any:
    """Return where a run that goes as far as a stage takes its source from."""
    return engine.together([Run(engine, plan, {}, stage)], stage)


@pytest.mark.parametrize("stage", ["quantize", "validate"])
def test_a_source_that_was_stored_is_not_counted_again(begin: Any, stage: str) -> None:
    engine, plan = begin(beside)
    assert ended(engine, "fetch")
    again, _ = begin(beside)
    found = origin(again, plan, stage)
    assert (found.remote, found.folder.parent.name) == (None, "fetch")
    assert ended(again)


def test_what_came_of_a_source_before_a_kill_is_not_counted_again(begin: Any, desk: Desk) -> None:
    engine, _ = begin(beside, interrupted("fetch"))
    with pytest.raises(KeyboardInterrupt):
        ended(engine, "fetch")
    again, _ = begin(beside)
    assert origin(again, again.plan("one")[0], "validate").remote is None
    assert len(list((desk.home / "store" / "fetch").iterdir())) == 1


def test_a_checkpoint_that_was_streamed_is_not_counted_again(begin: Any, desk: Desk) -> None:
    engine, plan = begin(beside, stream=True)
    assert ended(engine)
    again, _ = begin(beside, stream=True)
    assert origin(again, plan, "validate").remote is not None
    fetched = Run(again, plan, {}, "validate").reference(origin(again, plan, "validate"), next_of(again, plan))
    (other,) = (path for path in (desk.home / "store" / "fetch").iterdir() if path != fetched)
    kept = [other / name for name in plan.files if (other / name).is_file()]
    assert kept
    assert all(path.samefile(fetched / path.relative_to(other)) for path in kept)  # what was there came once
    assert source_to_come(again.place, plan.files, again.store, plan.files) == 0


def next_of(engine: Engine, plan: TargetPlan) -> Any:
    from pipeline.plan.questions import request_of
    from pipeline.validate.follow_up import FollowUpChecks

    return FollowUpChecks(plan, (), request_of(plan), engine.store, silent)


def test_files_that_are_finished_are_not_counted_again(begin: Any, desk: Desk) -> None:
    engine, plan = begin(beside, interrupted("quantize", lambda event: event.done == event.total))
    with pytest.raises(KeyboardInterrupt):
        ended(engine)
    finished = plan.components["transformer"].result_bytes
    assert result_to_come(plan, engine.store) <= quantized(plan) - finished
    again, _ = begin(lambda plan: beside(plan) - SPARE // 2)
    assert ended(again)


def test_a_disk_that_holds_neither_is_told_so_before_anything_is_fetched(begin: Any, desk: Desk) -> None:
    engine, plan = begin(lambda plan: plan.source_bytes // 2)
    with pytest.raises(CannotHereError, match="To judge the result the source itself must answer"):
        origin(engine, plan, "validate")
    assert not (desk.home / "store" / "fetch").exists()


def test_a_disk_too_small_for_the_source_streams_it(begin: Any, desk: Desk) -> None:
    heard: list[str] = []
    engine, _ = begin(lambda plan: beside(plan) - plan.source_bytes // 2, lambda event: heard.append(event.text))
    assert ended(engine)
    assert any("streams the source" in text for text in heard)
    assert not list((desk.home / "store" / "fetch").glob(f"*/{WEIGHTS}"))


def test_nothing_comes_for_what_is_made_and_judged(ready_desk: Desk) -> None:
    recipe = ready_desk.recipe()
    (fetched,) = (ready_desk.home / "store" / "fetch").iterdir()
    assert ready_desk.engine(recipe).store.drop("fetch", fetched.name)
    assert ended(ready_desk.engine(recipe, shared=disk(ready_desk, 0)), "card").state == "stopped"
    assert not fetched.exists()


def test_a_source_in_a_folder_takes_no_room_and_gives_links(desk: Desk, source: Path) -> None:
    recipe = desk.recipe(source={"path": str(source)})
    plan, _ = desk.engine(recipe).plan("one")
    store = disk(desk, 0)
    assert source_to_come(Folder(source), plan.files, store, plan.files) == 0
    assert result_to_come(plan, store, source) == quantized(plan)
    with pytest.raises(CannotHereError, match="are still to be written and the disk has 0 B left"):
        ended(desk.engine(recipe, shared=store))

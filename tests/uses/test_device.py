"""A checkpoint is asked within a small device's memory and threads, and what came of it is told, however it ended."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.plan.parts import PlannedValidation
from pipeline.recipe import Device
from pipeline.recipe.prompts import Question
from pipeline.tasks.answers import Request
from pipeline.validate.compatibility import CompatibilityCheck, SmallDevice, Uses, try_uses
from pipeline.validate.compatibility.asking import Tried
from pipeline.validate.compatibility.confined import judge_confined

BOARD = SmallDevice(memory=4 * 10**9, threads=1)
ASKED = Request(
    task="feature-extraction", questions=(Question(prompt="a b"), Question(prompt="c")), seeds=(0,), dtype="float32"
)
MEASURED = {
    "load_seconds": 2.0,
    "answer_seconds": 0.5,
    "answers": 4.0,
    "peak_memory": 5e8,
    "threads": 1.0,
    "not_numbers": 0.0,
}


def confined(model: Path, memory: int, out: Path) -> CompatibilityCheck:
    (use,) = try_uses(Uses(device=SmallDevice(memory=memory, threads=1)), model, model, ASKED, out)
    assert (use.kind, use.name) == ("device", "small device")
    return use


def test_a_model_answers_within_a_board_s_memory_on_one_thread(embedder: Path, tmp_path: Path) -> None:
    use = confined(embedder, BOARD.memory, tmp_path)
    assert use.verdict == "PASS", use.text
    assert use.text.startswith("Limited to 4.0 GB of memory and 1 thread, without a GPU, it loads in ")
    assert (use.numbers["memory_limit"], use.numbers["threads"], use.numbers["answers"]) == (4e9, 1, 2)
    assert 50e6 < use.numbers["peak_memory"] < 4e9


def test_less_memory_than_the_libraries_take_is_a_failure_that_says_what_ended_it(
    embedder: Path, tmp_path: Path
) -> None:
    use = confined(embedder, 60 * 10**6, tmp_path)
    assert use.verdict == "FAIL"
    assert use.text.startswith("Limited to 60.0 MB of memory and 1 thread, without a GPU, it does not answer: ")
    assert "emory" in use.text.partition("does not answer")[2]


@pytest.mark.parametrize(
    ("worse", "words"),
    [
        ({"peak_memory": 4.1e9}, "has 4.1 GB resident at most, with the files that it maps, and that is more."),
        ({"not_numbers": 7.0}, "answers 7 values that are no numbers."),
    ],
)
def test_more_than_there_is_and_no_numbers_are_failures(worse: dict[str, float], words: str) -> None:
    use = judge_confined(BOARD, Tried(device="cpu", how="as published", numbers=MEASURED | worse))
    assert use.verdict == "FAIL"
    assert use.text.endswith(words)


def test_what_was_measured_is_told_with_the_processor() -> None:
    said = Tried(device="cpu", how="as published", numbers=MEASURED, processor="Cortex-A76")
    assert judge_confined(BOARD, said).text == (
        "Limited to 4.0 GB of memory and 1 thread, without a GPU, it loads in 2.0 s, answers in 0.50 s (median of 4) "
        "and takes 500.0 MB at most, with 1 thread of Cortex-A76."
    )


def test_a_machine_that_cannot_limit_memory_is_inconclusive_with_the_remedy() -> None:
    use = judge_confined(BOARD, Tried(device="cpu", how="", missing="only Linux keeps a process to so much memory"))
    assert use.verdict == "INCONCLUSIVE"
    assert use.text.endswith("only Linux keeps a process to so much memory; validate on Linux.")


def test_a_plan_without_a_device_keeps_its_digest_and_one_with_it_says_which() -> None:
    asked = PlannedValidation(prompts=(), dataset=None, seeds=(0,), call={}, require={}, judges={})
    assert "device" not in asked.model_dump(mode="json")
    board = asked.model_copy(update={"device": Device(memory="4GB")})
    assert board.model_dump(mode="json")["device"] == {"memory": "4GB", "threads": 1}

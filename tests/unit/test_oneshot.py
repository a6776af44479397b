"""A process that is asked once: its answers are told from all else that is printed, and its death from its answers."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.errors import CannotHereError, PublishError, QuantizationError, RecipeError, SourceError
from pipeline.worker.oneshot import WorkerDiedError, WorkerError, ask, error_of, first_line

HEAD = """
import atexit, os, signal, sys
from pipeline.worker.oneshot import answer
asked = sys.stdin.read()
"""


@pytest.fixture
def written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The text of the module ``child``, which the process finds."""
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    return tmp_path / "child.py"


def test_answers_are_told_from_what_libraries_print_before_and_at_the_end(written: Path) -> None:
    body = 'atexit.register(print, "{}")\nprint("a word", end="")\nanswer([{"asked": asked}, {"é": "\\u2028"}])'
    written.write_text(HEAD + body)
    assert ask("child", "what?", 2) == [{"asked": "what?"}, {"é": "\u2028"}]


@pytest.mark.parametrize(
    ("body", "reason", "killed"),
    [
        ("answer([{}])", "it ended with status 0", False),
        ("print('{}'); print('no')", "it ended with status 0", False),
        ("sys.exit('no room')", "no room", False),
        ("print('{}', '{}', sep='\\n', flush=True); os._exit(3)", "it ended with status 3", False),
        ("os.kill(os.getpid(), signal.SIGKILL)", "it ended with status -9", True),
    ],
    ids=["too few", "no JSON", "a failure", "a failure after answers", "killed"],
)
def test_a_process_without_its_answers_says_why(written: Path, body: str, reason: str, killed: bool) -> None:
    written.write_text(HEAD + body)
    with pytest.raises(WorkerDiedError) as told:
        ask("child", "what?", 2)
    assert (str(told.value), told.value.killed) == (reason, killed)


def test_the_process_gets_what_it_is_given_and_no_secret(written: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "secret")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    written.write_text(f"{HEAD}\nanswer([dict(os.environ)])")
    (said,) = ask("child", "", environment={"WORD": "given"})
    assert (said["WORD"], said["CUDA_VISIBLE_DEVICES"], said.get("HF_TOKEN")) == ("given", "", None)


@pytest.mark.parametrize(
    ("kind", "error"),
    [
        ("recipe", RecipeError),
        ("keep", RecipeError),
        ("lora", RecipeError),
        ("source", SourceError),
        ("environment", CannotHereError),
        ("library", QuantizationError),
    ],
)
def test_a_refusal_is_the_error_of_its_kind_there_or_where_it_was_asked(kind: str, error: type[PublishError]) -> None:
    told = error_of(WorkerError(kind, "It is odd.", "Mend it.").said, "recipe.yaml:1:1")
    assert (type(told), str(told)) == (error, "recipe.yaml:1:1: It is odd. Mend it.")
    told = error_of(WorkerError(kind, "It is odd.", where="the second").said, "recipe.yaml:1:1")
    assert (type(told), str(told)) == (error, "the second: It is odd.")


@pytest.mark.parametrize(
    ("said", "sentence"), [("It is odd:\nvery", "It is odd."), (" Odd. ", "Odd."), ("", "no reason given.")]
)
def test_what_a_library_says_becomes_one_sentence(said: str, sentence: str) -> None:
    assert first_line(RuntimeError(said)) == sentence

"""A worker: its answers are told from all else that is printed, and its death from its answers."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.errors import CannotHereError, PublishError, QuantizationError, RecipeError, SourceError
from pipeline.worker.child import WorkerError, first_line
from pipeline.worker.session import WorkerDiedError, ask_worker, error_of, opened

HEAD = """
import os, signal, sys
from pipeline.worker.child import serve

def answer(job, tell):
"""


@pytest.fixture
def written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The text of the module ``child``, which the process finds."""
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    return tmp_path / "child.py"


def test_answers_are_told_from_what_libraries_print_and_read(written: Path) -> None:
    told = 'return {"job": job, "é": "\\u2028", "in": sys.stdin.read()}'
    written.write_text(f"{HEAD}    print({{}}, flush=True)\n    os.system('echo no')\n    {told}\nserve(answer)")
    said = [{"job": job, "é": "\u2028", "in": ""} for job in ("one\n", "two\n")]
    assert ask_worker("child", ["one", "two"]) == said


@pytest.mark.parametrize(
    ("body", "reason", "code"),
    [
        ("sys.exit(0)", "it ended with status 0", 0),
        ("sys.exit('no room')", "no room", 1),
        ("raise ValueError('no room\\nat all')", "ValueError: no room", 1),
        ("os._exit(3)", "it ended with status 3", 3),
        ("os.kill(os.getpid(), signal.SIGKILL)", "it ended with status -9", -9),
        ("os.write(4, b'{\"wha'); os.kill(os.getpid(), signal.SIGKILL)", "it ended with status -9", -9),
    ],
    ids=["no answer", "a failure", "an exception", "a failure without a word", "killed", "killed in its answer"],
)
def test_a_worker_without_its_answers_says_why(written: Path, body: str, reason: str, code: int) -> None:
    written.write_text(f"{HEAD}    if job == 'one\\n': return {{}}\n    {body}\nserve(answer)")
    with pytest.raises(WorkerDiedError) as told:
        ask_worker("child", ["one", "two"])
    assert (str(told.value), told.value.code) == (reason, code)


def test_a_worker_that_ends_badly_after_its_answer_says_why(written: Path, tmp_path: Path) -> None:
    written.write_text(f"{HEAD}    return {{}}\nserve(answer)\nsys.exit('no room')")
    with opened("child", tmp_path / "log") as worker:
        assert worker.ask("what?") == {}
        with pytest.raises(WorkerDiedError, match="no room"):
            worker.finish()


def test_what_is_printed_before_the_worker_has_its_stdout_is_no_answer(written: Path) -> None:
    (written.parent / "sitecustomize.py").write_text("print('a banner', flush=True)")
    written.write_text(f"{HEAD}    return {{}}\nserve(answer)")
    assert ask_worker("child", ["one"]) == [{}]


def test_a_process_that_a_worker_leaves_behind_is_not_waited_for(written: Path, tmp_path: Path) -> None:
    written.write_text(f"{HEAD}    os.fork() or os.execlp('sleep', 'sleep', '300')\n    return {{}}\nserve(answer)")
    with opened("child", tmp_path / "log", silence=60) as worker:
        assert worker.ask("what?") == {}
        worker.finish()
        assert not worker.hung


def test_the_process_gets_what_it_is_given_and_no_secret(written: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "secret")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    written.write_text(f"{HEAD}    return dict(os.environ)\nserve(answer)")
    (said,) = ask_worker("child", [""], {"WORD": "given"})
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

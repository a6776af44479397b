"""A card's snippet is tried where nothing is installed but what it takes, and what that took is told."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.validate.compatibility import CompatibilityCheck, SmallDevice
from pipeline.validate.compatibility.snippet import judge_snippet, try_snippet

REPO = "alice/graph"
SNIPPET = """\
import json
from importlib.util import find_spec
from pathlib import Path
from huggingface_hub import hf_hub_download

assert find_spec("numpy") and not find_spec("torch")
assert json.loads(Path(hf_hub_download("alice/graph", "config.json")).read_text()) == {}
assert Path(hf_hub_download("alice/graph", "publish/questions/clip.wav")).read_bytes() == b"clip"
"""
BOARD = SmallDevice(memory=10**9, threads=1)


def tried(tmp_path: Path, snippet: str, device: SmallDevice | None = None) -> CompatibilityCheck:
    checkpoint, questions = tmp_path / "checkpoint", tmp_path / "questions"
    for folder in (checkpoint, questions):
        folder.mkdir()
    (checkpoint / "config.json").write_text("{}")
    (questions / "clip.wav").write_bytes(b"clip")
    said = try_snippet(snippet, REPO, checkpoint, questions, ("torch",), tmp_path / "out", device)
    return judge_snippet(said, ("torch",), device)


@pytest.mark.parametrize("device", [None, BOARD])
def test_a_snippet_runs_on_the_checkpoint_without_what_it_spares(tmp_path: Path, device: SmallDevice | None) -> None:
    use = tried(tmp_path, SNIPPET, device)
    assert use.verdict == "PASS", use.text
    assert ("Limited to 1.0 GB of memory and 1 thread, without torch" if device else "Without torch") in use.text
    assert (use.kind, use.name) == ("device", "small device" if device else "snippet")
    assert 10e6 < use.numbers["peak_memory"] < 200e6


@pytest.mark.parametrize(
    ("snippet", "words"),
    [
        ("import torch", "does not answer: ModuleNotFoundError: No module named 'torch'."),
        ("bytes(2 << 30)", "does not answer: MemoryError."),
    ],
)
def test_a_snippet_that_takes_more_than_there_is_fails_and_says_what_of(
    tmp_path: Path, snippet: str, words: str
) -> None:
    use = tried(tmp_path, snippet, BOARD)
    assert use.verdict == "FAIL"
    assert use.text.endswith(words)

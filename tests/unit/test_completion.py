"""A shell completes verbs and options, quickly."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ASKING = """
eval "$(publish --show-completion)"
COMP_WORDS=(publish run --stop) COMP_CWORD=2
_publish_completion publish
echo "${COMPREPLY[@]}"
"""


@pytest.mark.parametrize(
    ("words", "found"),
    [
        ("publish ver", "verify"),
        ("publish --verb", "--verbose"),
        ("publish run --hub local --targ", "--target"),
        ("publish --json can-i-run --mem", "--memory"),
    ],
)
def test_verbs_and_options_are_completed_without_a_library(words: str, found: str) -> None:
    asked = {"_PUBLISH_COMPLETE": "complete_bash", "COMP_WORDS": words, "COMP_CWORD": str(words.count(" "))}
    command = [sys.executable, "-X", "importtime", "-m", "pipeline.cli"]
    done = subprocess.run(command, env={**os.environ, **asked}, capture_output=True, text=True, check=True)
    assert done.stdout.split() == [found]
    imported = {line.split("|")[-1].strip() for line in done.stderr.splitlines()}
    assert "pipeline.cli.run" in imported
    assert imported & {"torch", "numpy", "huggingface_hub"} == set()


def test_bash_completes_by_the_script_that_is_shown(tmp_path: Path) -> None:
    (tmp_path / "publish").write_text(f'#!/bin/sh\nexec {sys.executable} -m pipeline.cli "$@"\n')
    (tmp_path / "publish").chmod(0o755)
    environment = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    done = subprocess.run(["bash", "-c", ASKING], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout == "--stop-after\n"

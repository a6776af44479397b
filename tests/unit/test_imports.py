"""What a process spares that imports thousands of modules: a search for garbage, and reading what it knows."""

from __future__ import annotations

import gc
import subprocess
import sys

import pytest

from pipeline.worker.startup import gc_paused

ENDING = """
import atexit
from pipeline.worker.startup import skip_gc_at_exit

class Loop:
    def __init__(self):
        self.itself = self

    def __del__(self):
        print("taken apart", flush=True)

atexit.register(print, "handler")
{leave}
kept = Loop()
print("said last", end=" ")
"""


@pytest.mark.parametrize(
    ("leave", "said"), [("", "said last handler\ntaken apart\n"), ("skip_gc_at_exit()", "said last handler\n")]
)
def test_a_process_that_leaves_quickly_takes_no_loops_apart_and_still_runs_its_handlers(leave: str, said: str) -> None:
    ended = subprocess.run(
        [sys.executable, "-c", ENDING.format(leave=leave)],
        capture_output=True,
        text=True,
        check=True,
    )
    assert (ended.stdout, ended.stderr) == (said, "")


def test_nobody_looks_for_garbage_while_importing_and_everybody_does_afterwards() -> None:
    with gc_paused():
        assert not gc.isenabled()
    assert gc.isenabled()


def test_an_import_that_fails_leaves_the_collector_on() -> None:
    with pytest.raises(ImportError), gc_paused():
        raise ImportError
    assert gc.isenabled()


def test_who_wanted_no_collector_still_has_none() -> None:
    gc.disable()
    try:
        with gc_paused():
            pass
        assert not gc.isenabled()
    finally:
        gc.enable()


def test_whether_torch_has_a_gpu_is_known_without_torch() -> None:
    code = """
import sys
from pipeline.backends.available import has_gpu
import pipeline.card.stage
found = has_gpu()
assert "torch" not in sys.modules
import torch
assert found is (torch.cuda.is_available() or torch.xpu.is_available() or torch.backends.mps.is_available())
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_what_is_installed_is_read_once() -> None:
    code = """
import sys
read = []
sys.addaudithook(lambda event, about: read.append(str(about[0])) if event == "open" else None)
from pipeline.backends.oracle.conversion import installed_versions
found = installed_versions(("torch", "diffusers", "no-such-library"))
assert installed_versions(("diffusers", "torch")) == found
assert sum(name.endswith("METADATA") for name in read) == 2, read
"""
    subprocess.run([sys.executable, "-c", code], check=True)

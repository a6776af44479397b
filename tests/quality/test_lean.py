"""The process that waits while models answer holds little: no torch where numbers are enough, and nothing it freed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

JUDGING = """
import sys
from pathlib import Path
import numpy as np
from safetensors.numpy import save_file
from pipeline.tasks import TASKS
from pipeline.tasks.metrics import MetricInput, Pair
from pipeline.validate.layers import compare
from pipeline.validate.preload import judges_imported
import pipeline.run

task, folders = TASKS["feature-extraction"], [Path(sys.argv[1]) / side for side in ("source", "candidate")]
for folder in folders:
    folder.mkdir()
    named = {"quantized": "[]", "unread": "[]"}
    save_file({"model/a": np.ones((8, 4), np.float16)}, folder / "layers.safetensors", named)
assert len(compare(*folders, {})) == 1
with judges_imported(task.medium.imports):
    pass
pairs = tuple(Pair(at, "", None, 0, np.eye(14)[at], np.eye(14)[at] + 1) for at in range(14))
for metric in task.medium.metrics.values():
    metric.measure(MetricInput(pairs))
print("torch" in sys.modules)
"""

FREED = """
from pathlib import Path
from pipeline.worker.process import run

def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096

blocks = [bytearray(64_000) for _ in range(3_000)]
last = bytearray(64_000)  # on top of the heap, which otherwise shrinks by itself
del blocks
before = resident()
run(["true"], 60)
print(before - resident())
"""


def test_judging_embeddings_takes_no_torch(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", JUDGING, tmp_path], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


@pytest.mark.skipif(sys.platform != "linux", reason="/proc tells what is resident")
def test_what_was_freed_is_given_back_before_a_process_of_libraries_starts() -> None:
    done = subprocess.run([sys.executable, "-c", FREED], capture_output=True, text=True, check=True)
    assert int(done.stdout) > 100e6

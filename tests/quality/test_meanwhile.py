"""What judges is imported beside a block, and is never in its way."""

from __future__ import annotations

import subprocess
import sys
import threading
from importlib import import_module

import pytest

from pipeline.tasks.images.medium import IMAGES
from pipeline.validate.preload import judges_imported

WAITING = """
import sys, time
from pipeline.tasks.images.medium import IMAGES
from pipeline.validate.preload import judges_imported
with judges_imported((*IMAGES.imports, *IMAGES.judge_imports)):
    until = time.monotonic() + 60
    while "torch.nn" not in sys.modules and time.monotonic() < until:
        time.sleep(0.05)
print("torch.nn" in sys.modules)
"""

ENOUGH = """
import sys
import threading
import time
from pipeline.tasks.images.medium import IMAGES
from pipeline.validate.preload import judges_imported
with judges_imported((*IMAGES.imports, *IMAGES.judge_imports)) as enough:
    enough()
    while threading.active_count() > 1:  # the block outlasts the imports
        time.sleep(0.01)
print(IMAGES.judge_imports[-1] in sys.modules)
"""


def test_libraries_are_imported_while_a_block_waits() -> None:
    done = subprocess.run([sys.executable, "-c", WAITING], capture_output=True, text=True, check=True)
    assert done.stdout == "True\n"


def test_what_was_not_begun_when_it_is_enough_is_left() -> None:
    done = subprocess.run([sys.executable, "-c", ENOUGH], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


def test_an_error_in_the_block_is_that_error_and_nothing_goes_on_behind_it() -> None:
    before = threading.active_count()
    with pytest.raises(KeyboardInterrupt), judges_imported(IMAGES.imports):
        raise KeyboardInterrupt
    assert threading.active_count() == before


@pytest.mark.parametrize("library", [*IMAGES.imports, *IMAGES.judge_imports])
def test_every_library_goes_by_that_name(library: str) -> None:
    assert import_module(library)

"""Pictures of other machines for a command and its children: without some libraries, or with a GPU's driver."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

needs_compiler = pytest.mark.skipif(shutil.which("cc") is None, reason="there is no C compiler")
HIDE = """
import sys
from importlib.machinery import PathFinder

class WithoutThem(PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        return None if name.partition(".")[0] in {names} else super().find_spec(name, path, target)

sys.meta_path = [WithoutThem if finder is PathFinder else finder for finder in sys.meta_path]
"""
# What of NVIDIA's driver is asked, as its header declares it: two devices, the first with 24 GB and capability 8.9.
DRIVER = """
#include <stddef.h>
int cuInit(unsigned flags) { return 0; }
int cuDeviceGetCount(int *count) { *count = 2; return 0; }
int cuDeviceGet(int *device, int ordinal) { *device = 7 + ordinal; return 0; }
int cuDeviceTotalMem_v2(size_t *bytes, int device) { *bytes = device == 7 ? 24000000000 : 0; return 0; }
int cuDeviceGetAttribute(int *value, int attribute, int device) {
  *value = device != 7 ? 0 : attribute == 75 ? 8 : attribute == 76 ? 9 : 0;
  return 0;
}
"""


def without(folder: Path, *names: str) -> dict[str, str]:
    """Return the environment of a machine that has not installed some packages."""
    folder.mkdir(exist_ok=True)
    (folder / "sitecustomize.py").write_text(HIDE.format(names=names))
    return {"PYTHONPATH": str(folder)}


def with_driver(folder: Path) -> dict[str, str]:
    """Return the environment of a machine that has NVIDIA's driver, which sees two cards, the first of 24 GB."""
    folder.mkdir(exist_ok=True)
    (folder / "cuda.c").write_text(DRIVER)
    subprocess.run(["cc", "-shared", "-fPIC", "-o", folder / "libcuda.so.1", folder / "cuda.c"], check=True)
    return {"LD_LIBRARY_PATH": str(folder)}

"""What this machine can do for a publisher: libraries that import, processor, GPU, disk and memory.

Nothing is imported here but by a child that says whether it went well: a library that is installed and does not import
is the failure that users meet most.
"""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path
from typing import Final, Literal

from packaging.requirements import Requirement

from pipeline.backends.available import cuda_devices
from pipeline.files import counted, human_size
from pipeline.worker.process import run
from pipeline.worker.session import last_words

DISTRIBUTION: Final = "quantpress"
IMPORT_SECONDS: Final = 300.0  # a cold disk reads a gigabyte of libraries
SCARCE: Final = 1 << 30  # bytes of disk below which nothing can be done
IMPORTING: Final = "import importlib, sys; [importlib.import_module(name) for name in sys.argv[1:]]"
NOTHING_TO_DO: Final = "Nothing to do."


@dataclass(frozen=True)
class Remark:
    """One line of an examination, which ends in what to do.

    Attributes:
        level: ``warning`` where something may fail or is slow, ``problem`` where it will fail.
        topic: What was looked at, such as ``token`` or ``disk``.
    """

    level: Literal["ok", "warning", "problem"]
    topic: str
    text: str
    remedy: str = NOTHING_TO_DO


def libraries(extra: str, packages: Sequence[str]) -> Remark:
    """Say whether the libraries of an extra are here, as new as they must be, and can be imported.

    Args:
        extra: The extra of this program.
        packages: What is imported of it.
    """
    if unmet := list(unmet_requirements(extra)):
        return Remark("problem", extra, "; ".join(unmet), f"Install it with pip install 'quantpress[{extra}]'.")
    if reason := import_failure(packages):
        text = f"{' or '.join(packages)} is installed and cannot be imported: {reason}"
        remedy = f"Install it anew: pip install --force-reinstall 'quantpress[{extra}]'."
        return Remark("problem", extra, text, remedy)
    found = ", ".join(f"{need.name} {version(need.name)}" for need in requirements(extra))
    return Remark("ok", extra, f"{found}; imported without an error")


def requirements(extra: str) -> list[Requirement]:
    """Return what an extra of this program needs, other than its own other extras."""
    told = [Requirement(text) for text in requires(DISTRIBUTION) or []]
    ours = [need for need in told if need.marker and need.marker.evaluate({"extra": extra})]
    return [need for need in ours if need.name != DISTRIBUTION]


def unmet_requirements(extra: str) -> Iterator[str]:
    """Say which libraries of an extra are missing or of a version that does not do."""
    for need in requirements(extra):
        try:
            here = version(need.name)
        except PackageNotFoundError:
            yield f"{need.name} is not installed"
            continue
        if not need.specifier.contains(here, prereleases=True):
            yield f"{need.name} {here} is installed, and {need.specifier} is needed"


def import_failure(packages: Sequence[str]) -> str:
    """Return why packages cannot be imported in a process of their own; empty where they can."""
    command = [sys.executable, "-P", "-c", IMPORTING, *packages]
    try:
        done = run(command, IMPORT_SECONDS)
    except subprocess.TimeoutExpired:
        return f"it did not end in {IMPORT_SECONDS:.0f} s"
    return (last_words(done.stderr) or f"exit code {done.returncode}") if done.returncode else ""


def processor() -> Remark:
    """Say what the kernels find: cores, and on Intel's and AMD's processors how wide their registers are."""
    cores, info = len(os.sched_getaffinity(0)), Path("/proc/cpuinfo")
    flags = info.read_text(errors="replace").split() if info.exists() else []
    wide = next((name for flag, name in (("avx512f", "AVX-512"), ("avx2", "AVX2")) if flag in flags), "")
    text = f"{counted(cores, 'core')} of {platform.machine()}{f' with {wide}' if wide else ''}"
    if "sse2" in flags and not wide:
        remedy = "Quantize elsewhere if it takes too long; the bytes are the same."
        return Remark("warning", "processor", f"{text}, without AVX2: kernels are slow", remedy)
    return Remark("ok", "processor", text)


def graphics(need: Sequence[str]) -> Remark:
    """Say whether a GPU is there.

    Args:
        need: The targets that cannot be made without one.
    """
    if devices := cuda_devices():
        return Remark("ok", "gpu", counted(devices, "CUDA device"))
    if need:
        remedy = "Run these targets on a machine with a GPU, or leave them out with --target."
        return Remark("problem", "gpu", f"none, and it is needed by {', '.join(need)}", remedy)
    remedy = "Nothing to do, unless validation on the processor takes too long."
    return Remark("ok", "gpu", "none; every target of these recipes is made without one", remedy)


def disk(home: Path, wanted: int, of: str) -> Remark:
    """Compare the room in the home with what a run takes at most.

    Args:
        home: The folder, which need not be there yet.
        wanted: Bytes; 0 where it is not known.
        of: The recipe that takes them.
    """
    place = next(folder for folder in (home, *home.parents) if folder.is_dir())
    free = shutil.disk_usage(place).free
    text = f"{human_size(free)} free in {home}"
    if not os.access(place, os.W_OK):
        return Remark("problem", "disk", f"{home} may not be written", "Give another --home.")
    if free < SCARCE:
        return Remark("problem", "disk", text, "Free some room, or give another --home.")
    if free < wanted:
        remedy = "Look at `publish plan`, which knows exactly; --stream stores no source; or give another --home."
        return Remark("warning", "disk", f"{text}, and {of} may take {human_size(wanted)}", remedy)
    return Remark("ok", "disk", f"{text}; {of} takes {human_size(wanted)} at most" if wanted else text)


def memory(wanted: int, of: str) -> Remark | None:
    """Compare the memory that is free with what judging a target takes; None where the system does not tell.

    Args:
        wanted: Bytes; 0 where it is not known.
        of: The recipe that takes them.
    """
    free = free_memory()
    if free is None:
        return None
    text, takes = f"{human_size(free)} free", f"judging a target of {of} takes about {human_size(wanted)}"
    if free < wanted:
        remedy = "Quantizing needs little; validate on a machine that holds the whole pipeline."
        return Remark("warning", "memory", f"{text}, and {takes}", remedy)
    return Remark("ok", "memory", f"{text}; {takes}" if wanted else text)


def free_memory() -> int | None:
    """Return the bytes that a process may still take, in a container at most what that is allowed; None if unknown."""
    try:
        lines = dict(line.split(":", 1) for line in Path("/proc/meminfo").read_text().splitlines())
    except OSError:
        return None
    free = int(lines["MemAvailable"].split()[0]) << 10
    try:
        limit = Path("/sys/fs/cgroup/memory.max").read_text().strip()
        used = int(Path("/sys/fs/cgroup/memory.current").read_text())
    except (OSError, ValueError):
        return free
    return min(free, int(limit) - used) if limit.isdigit() else free

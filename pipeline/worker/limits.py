"""A small device's limits, for the process that asks for them, and what a process took of memory.

It imports nothing that weighs: what it is asked of is measured.
"""

from __future__ import annotations

import os
import resource
import sys
from pathlib import Path


def confine(memory: int, threads: int) -> None:
    """Take all but a device's memory and threads from this process, and the GPU, before a library looks for them.

    The limit is of what the process allocates and maps for itself (RLIMIT_DATA of setrlimit(2)): unlike that of its
    address space it leaves out code and files that are only read, of which a build of torch for CUDA maps gigabytes
    that a board never loads. What is resident of those is measured at the end.

    Args:
        memory: Bytes.
        threads: How many threads of the processor.
    """
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    memory = memory if hard == resource.RLIM_INFINITY else min(memory, hard)
    resource.setrlimit(resource.RLIMIT_DATA, (memory, memory))
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])
    os.environ |= {"CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": str(threads)}


def processors() -> int:
    """Return how many processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def peak_memory() -> int:
    """Return the most bytes of host memory that were resident in this process.

    Linux's ``ru_maxrss`` also remembers the parent as it was when it forked; ``VmHWM`` begins at the exec
    (https://man7.org/linux/man-pages/man5/proc_pid_status.5.html).
    """
    status = Path("/proc/self/status")
    if status.exists():
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM:"))
        return int(line.split()[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)

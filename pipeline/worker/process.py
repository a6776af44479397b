"""Processes that run libraries: which variables they get, how long they may take, and how they are ended.

A source's code or config may steer them, so they are told what libraries need and nothing else: an allowlist of
variables, and an empty folder as their home, so that no token that `hf auth login` saved is found. That is no sandbox:
they run as the same user.
"""

from __future__ import annotations

import ctypes
import os
import re
import signal
import site
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

from pipeline.errors import CannotHereError

NAMES: Final = frozenset(
    "PATH PYTHONPATH LD_LIBRARY_PATH TMPDIR LANG LANGUAGE TZ USER LOGNAME CC CXX HF_HUB_DISABLE_TELEMETRY "  # noqa: SIM905
    "HF_HUB_DISABLE_PROGRESS_BARS HF_HUB_DISABLE_XET".split()
)
PREFIXES: Final = (
    *("LC_", "OMP_", "GOMP_", "KMP_", "MKL_", "OPENBLAS_", "NUMBA_", "TORCH", "PYTORCH_", "TRITON_", "BNB_"),
    *("CUDA_", "NVIDIA_", "HIP_", "HSA_", "ROCR_", "ONEAPI_", "ZE_", "SYCL_"),
)
SECRET: Final = re.compile("TOKEN|KEY|SECRET|PASS|CREDENTIAL|AUTH", re.IGNORECASE)


def allowed() -> dict[str, str]:
    """Return the variables of ours that processes of libraries get; none whose name says that it holds a secret."""
    named = {name: value for name, value in os.environ.items() if name in NAMES or name.startswith(PREFIXES)}
    return {name: value for name, value in named.items() if not SECRET.search(name)}


@contextmanager
def started(
    command: Sequence[str], environment: Mapping[str, str] | None = None, **options: Any
) -> Iterator[subprocess.Popen[str]]:
    """Start a process of libraries, and see it and its own children gone, however this block ends.

    It gets a session of its own, so that Ctrl-C reaches this process alone and the child dies by our hand; and the
    memory that this process has freed, for models need more than one sees.

    Args:
        command: What it runs.
        environment: Variables beside those that are allowed.
        options: Options of ``Popen``.
    """
    give_back_memory()
    with temporary_folder("publish-home-") as home:
        # Libraries that were installed for this user lie in the home that it no longer sees.
        told = {**allowed(), "HOME": str(home), "PYTHONUSERBASE": site.getuserbase(), **(environment or {})}
        with guard() as place:
            begun = ["/bin/sh", "-c", 'echo $$ >"$0" && exec "$@"', place, *command]
            process = subprocess.Popen(begun, env=told, text=True, encoding="utf-8", start_new_session=True, **options)
            try:
                yield process
            finally:
                end(process)


def give_back_memory() -> None:
    """Have the C library give the system what this process freed: glibc keeps hundreds of megabytes after an upload.

    Where it is another library, which has no such call, nothing is done.
    """
    with suppress(AttributeError):
        ctypes.CDLL(None).malloc_trim(0)


@contextmanager
def temporary_folder(prefix: str) -> Iterator[Path]:
    """Return a folder that is removed when this block ends.

    Raises:
        CannotHereError: There is no place for one.
    """
    try:
        folder = TemporaryDirectory(prefix=prefix, ignore_cleanup_errors=True)
    except OSError as error:
        remedy = "Name a folder that can be written to with the variable TMPDIR."
        raise CannotHereError(f"Temporary files have no place: {error.strerror}.", remedy=remedy) from error
    with folder as path:
        yield Path(path)


@contextmanager
def guard() -> Iterator[str]:
    """See a group of processes killed when this process is gone, even where it was killed itself.

    A shell reads which group, then waits for the end of its stdin, which only this process holds open. What is guarded
    writes its number there before it is anything else, and is nothing where it cannot: at no moment it would live on.

    Yields:
        The path that the number is written to.
    """
    reading, writing = os.pipe()
    script = 'read -r group; read -r gone; kill -s KILL -- "-$group" 2>/dev/null'
    on_stdin = [(os.POSIX_SPAWN_DUP2, reading, 0)]
    shell = os.posix_spawn("/bin/sh", ["sh", "-c", script], {}, file_actions=on_stdin, setpgroup=0)
    try:
        yield f"/proc/{os.getpid()}/fd/{writing}"
    finally:
        os.kill(shell, signal.SIGKILL)
        os.waitpid(shell, 0)
        os.close(reading)
        os.close(writing)


def kill(process: subprocess.Popen[str]) -> None:
    """Kill a process and its own children, if any of them still are there."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


def end(process: subprocess.Popen[str]) -> None:
    """Kill a process and its own children, and close what leads to it."""
    kill(process)
    process.wait()
    for pipe in (process.stdin, process.stdout, process.stderr):
        if pipe is not None:
            with suppress(BrokenPipeError):  # it left without reading; its exit code and log say why
                pipe.close()


def run(
    command: Sequence[str],
    seconds: float,
    environment: Mapping[str, str] | None = None,
    **options: Any,
) -> subprocess.CompletedProcess[str]:
    """Run a process of libraries to its end.

    Args:
        command: What it runs.
        seconds: How long it may take.
        environment: Variables beside those that are allowed.
        options: Options of ``Popen``.

    Raises:
        TimeoutExpired: It took longer, and was ended.
    """
    pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    with started(command, environment, errors="replace", **pipes, **options) as process:
        out, err = process.communicate(timeout=seconds)
    return subprocess.CompletedProcess(command, process.returncode, out, err)

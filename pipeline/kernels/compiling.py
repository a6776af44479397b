"""How kernels are compiled: once a machine, without the GIL, and never with a transformation that may change a bit."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from numba import njit

P = ParamSpec("P")
R = TypeVar("R")


def kernel(function: Callable[P, R]) -> Callable[P, R]:
    """Compile a function of numpy arrays when it is first called, once a machine.

    numba finds what it compiled earlier by the function's name and by the digest of its own file, and keeps it beside
    that file, or in the user's cache folder where the package is read-only. It does not see that a function of another
    file, compiled into this one, has changed; so the name carries a digest of the whole folder.
    """
    return _compiled(function)


def inner(function: Callable[P, R]) -> Callable[P, R]:
    """Compile a function that only kernels call: without what Python would call it by, in half the time."""
    return _compiled(function, no_cpython_wrapper=True)


def _compiled(function: Callable[P, R], **settings: bool) -> Callable[P, R]:
    function.__qualname__ = f"{function.__qualname__}_{_digest()}"
    # Division by zero has its IEEE result, as in the libraries; an exception would also keep loops from vectorizing.
    how: dict[str, Any] = {"nogil": True, "error_model": "numpy", "no_cfunc_wrapper": True, **settings}
    try:
        compiled: Callable[P, R] = njit(function, cache=True, **how)
    except RuntimeError:  # neither folder can be written: compiled anew in each process
        compiled = njit(function, **how)
    return compiled


@cache
def _digest() -> str:
    texts = (path.read_bytes() for path in sorted(Path(__file__).parent.glob("*.py")))
    return sha256(b"\0".join(texts)).hexdigest()[:16]


def _begin_without_blas() -> None:
    """Let numba find no BLAS: it looks for scipy's when it starts, for 0.2 seconds, and no kernel calls it."""
    blas = "scipy.linalg.cython_blas"
    if blas not in sys.modules:
        sys.modules[blas] = None  # type: ignore[assignment] # an import of it fails at once
        try:
            importlib.import_module("numba.np.arraymath")
        finally:
            del sys.modules[blas]


_begin_without_blas()

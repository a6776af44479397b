"""What this machine can do: which libraries are installed, and whether a GPU is there. Nothing here imports torch."""

from __future__ import annotations

import ctypes
import platform
import sys
from dataclasses import dataclass
from importlib.metadata import version
from importlib.util import find_spec
from typing import Final

from pipeline.backends.protocol import Backend
from pipeline.errors import CannotHereError

CAPABILITY: Final = (75, 76)  # CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR and _MINOR


@dataclass(frozen=True)
class Card:
    """A GPU.

    Attributes:
        kind: What torch calls it: ``cuda``, ``mps`` or ``xpu``.
        memory: Its bytes, used or not; None where nothing here tells them.
        capability: The compute capability of a CUDA device, where it is known.
    """

    kind: str
    memory: int | None = None
    capability: float | None = None


def require(backend: Backend, scheme: str) -> None:
    """Refuse a scheme that this machine cannot make.

    Raises:
        CannotHereError: The library is not installed, or it needs a device that is not here.
    """
    require_installed(backend, scheme)
    if backend.SCHEMES[scheme].makes_on == "cuda" and not cuda_devices():
        raise CannotHereError(
            f"{backend.DISTRIBUTION} makes {scheme} on a CUDA device only, and this machine has none.",
            remedy="Run this target on a machine with a GPU, or leave it out with --target.",
        )


def require_device(device: str) -> None:
    """Refuse a device that is not here.

    Raises:
        CannotHereError: There is none.
    """
    if device == "cuda" and not cuda_devices():
        raise CannotHereError(
            "There is no CUDA device here.", remedy="Leave --device out: the CPU makes the same checkpoint."
        )


def require_installed(backend: Backend, scheme: str) -> None:
    """Refuse a scheme whose library is not there, even to be asked.

    Raises:
        CannotHereError: The library is not installed.
    """
    if missing := missing_library(backend):
        what = f"The scheme {scheme} needs the library {missing}, which is not installed."
        remedy = f"Install it with pip install 'quantpress[{backend.EXTRA}]', or leave this target out with --target."
        raise CannotHereError(what, remedy=remedy)


def missing_library(backend: Backend) -> str:
    """Return the first library that a backend needs and that is not installed; empty where all are."""
    libraries = {"torch": "torch", "numba": "numba", backend.DISTRIBUTION: backend.PACKAGE}
    return next((name for name, package in libraries.items() if not installed(package)), "")


def installed(package: str) -> bool:
    """Return whether a package can be imported, without importing it; its parents are."""
    try:
        return find_spec(package) is not None
    except ModuleNotFoundError:  # raised where a parent is missing, such as optimum of optimum.quanto
        return False


def has_gpu() -> bool:
    """Return whether torch, as it was built, has a GPU here: of CUDA, Intel (XPU) or Apple (MPS)."""
    if sys.platform == "darwin":
        return platform.machine() == "arm64"
    build = version("torch").partition("+")[2] if installed("torch") else "cpu"
    return build != "cpu" and (has_xpu() if build == "xpu" else bool(cuda_devices()))


def has_xpu() -> bool:
    """Return whether Intel's driver (Level Zero) sees a GPU."""
    try:
        driver = ctypes.CDLL("libze_loader.so.1")
    except OSError:
        return False
    return bool(driver.zeInit(1) == 0)  # ZE_INIT_FLAG_GPU_ONLY


def card() -> Card | None:
    """Return the GPU that a model is put onto here unless another one is named; None where there is none."""
    if found := first_cuda_device():
        return found
    return Card("mps" if sys.platform == "darwin" else "xpu") if has_gpu() else None


def first_cuda_device() -> Card | None:
    """Return the first CUDA device as the driver tells of it; None where it sees none."""
    if (driver := cuda_driver()) is None or not cuda_devices():
        return None
    memory, device, number = ctypes.c_size_t(0), ctypes.c_int(0), ctypes.c_int(0)
    driver.cuDeviceGet(ctypes.byref(device), 0)
    driver.cuDeviceTotalMem_v2(ctypes.byref(memory), device)
    version = []
    for attribute in CAPABILITY:
        driver.cuDeviceGetAttribute(ctypes.byref(number), attribute, device)
        version.append(number.value)
    return Card("cuda", memory.value, version[0] + version[1] / 10)


def cuda_devices() -> int:
    """Return how many CUDA devices the driver sees."""
    driver, count = cuda_driver(), ctypes.c_int(0)
    return count.value if driver and driver.cuDeviceGetCount(ctypes.byref(count)) == 0 else 0


def cuda_driver() -> ctypes.CDLL | None:
    """Return NVIDIA's driver, ready to be asked; None where there is none."""
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return None
    return driver if driver.cuInit(0) == 0 else None

"""The fresh process: load a pipeline as its users do, draw what was asked, tell the parent. See ``generate``."""

from __future__ import annotations

import json
import os
import platform
import resource
import sys
import threading
import time
from collections.abc import Callable, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

from pipeline.files import sha256_file
from pipeline.quality.answers import Answers, Picture, Request
from pipeline.quality.loading import device_of, load, quantized_components

Tell = Callable[[dict[str, Any]], None]
LIBRARIES = ("torch", "diffusers", "transformers", "accelerate", "safetensors")
BACKENDS = {"bitsandbytes": "bitsandbytes", "torchao": "torchao", "quanto": "optimum-quanto", "gguf": "gguf"}


def main() -> None:
    """Answer the one job that stdin carries."""
    tell = _private_stdout()
    job = json.loads(sys.stdin.readline())
    threading.Thread(target=_leave_with_the_parent, daemon=True).start()
    answers = answer(Path(job["model"]), Request.model_validate(job["request"]), Path(job["out"]), tell)
    tell({"answers": answers.model_dump(mode="json")})


def _private_stdout() -> Tell:
    """Keep stdout for messages to the parent: what libraries print to it goes to stderr from here on."""
    mouth = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)

    def tell(message: dict[str, Any]) -> None:
        mouth.write(json.dumps(message) + "\n")
        mouth.flush()

    return tell


def _leave_with_the_parent() -> None:
    """End this process when the parent is gone, even if it was killed: its end of our stdin closes then."""
    sys.stdin.read()
    os._exit(1)


def answer(model: Path, request: Request, out: Path, tell: Tell) -> Answers:
    """Load the pipeline and draw every prompt with every seed; pictures are lossless PNG files in ``out``."""
    import diffusers  # noqa: F401 - its import is no part of the time that loading takes

    started = time.perf_counter()
    pipe, how = load(model, request.dtype)
    loaded = time.perf_counter() - started
    pictures, seconds = [], []
    for index, prompt in enumerate(request.prompts):
        for seed in request.seeds:
            started = time.perf_counter()
            values = draw(pipe, prompt, seed, request.call)
            seconds.append(time.perf_counter() - started)
            pictures.append(_keep(values, index, seed, out))
            tell({"drawn": len(pictures)})
    return Answers(
        device=device_of(pipe),
        how=how,
        load_seconds=loaded,
        seconds_per_call=tuple(seconds),
        peak_memory_bytes=peak_memory(),
        peak_device_bytes=_peak_device(),
        versions=_versions(model),
        pictures=tuple(pictures),
    )


def draw(pipe: Any, prompt: str, seed: int, call: Mapping[str, Any]) -> Any:
    """Return one picture as float values in [0, 1], shape (height, width, channels).

    Values instead of a finished picture, because diffusers turns NaN into black pixels without a word.
    """
    import torch

    noise = torch.Generator("cpu").manual_seed(seed)
    return pipe(prompt=prompt, generator=noise, output_type="np", **call).images[0]


def _keep(values: Any, index: int, seed: int, out: Path) -> Picture:
    """Write one picture, rounded to 8 bits exactly as diffusers does it for its users."""
    import numpy as np
    from diffusers import DiffusionPipeline

    finite = np.isfinite(values)
    image = DiffusionPipeline.numpy_to_pil(np.where(finite, values, 0.0))[0]
    path = out / f"{index:03d}-{seed}.png"
    image.save(path, format="PNG")
    broken = int(finite.size - finite.sum())
    return Picture(prompt=index, seed=seed, file=path.name, sha256=sha256_file(path), not_numbers=broken)


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


def _peak_device() -> int | None:
    import torch

    return int(torch.cuda.max_memory_allocated()) if torch.cuda.is_available() else None


def _versions(model: Path) -> dict[str, str]:
    """Return the versions of Python, the model libraries and the backends this folder needs."""
    methods = {method for _, method in quantized_components(model).values()}
    names = [*LIBRARIES, *sorted(BACKENDS[method] for method in methods if method in BACKENDS)]
    return {"python": platform.python_version()} | {name: metadata.version(name) for name in names}


if __name__ == "__main__":
    main()

"""The fresh process: load a pipeline as its users do, draw what was asked, tell the parent. See ``generate``."""

from __future__ import annotations

import inspect
import json
import platform
import resource
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.backends import BACKENDS
from pipeline.backends.oracle.conversion import installed_versions
from pipeline.files import sha256_file
from pipeline.tasks.answers import Answers, GeneratedImage, Request
from pipeline.tasks.diffusers_pipeline import device_of, load, quantized_components
from pipeline.validate import probes
from pipeline.worker.hardware import hardware
from pipeline.worker.io import Tell, only_job, private_stdout
from pipeline.worker.startup import gc_paused

Question = tuple[int, int]  # the index of a prompt, and a seed
REPEATED = "repeated"  # the folder of what was drawn twice
CALLBACKS = frozenset({"callback_on_step_end", "callback_on_step_end_tensor_inputs"})
SMALL = frozenset({".json", ".txt", ".model", ".jinja"})
LIBRARIES = ("torch", "diffusers", "transformers", "accelerate", "safetensors")


@dataclass(frozen=True)
class Drawn:
    """One answer as the pipeline gave it.

    Attributes:
        values: In [0, 1], shape (height, width, channels).
        latents: What was decoded, shape (1, ...), where the pipeline lets it be seen.
        blocked: Whether its safety checker replaced the picture.
    """

    values: Any
    latents: Any | None
    blocked: bool


def main() -> None:
    """Answer the one job that stdin carries."""
    tell, job = private_stdout(), only_job()
    request = Request.model_validate(job["request"])
    repeats = [(index, seed) for index, seed in job["repeats"]]
    answers = answer(Path(job["model"]), request, Path(job["out"]), tell, repeats, look=job["look"])
    tell({"answers": answers.model_dump(mode="json")})


def answer(
    model: Path, request: Request, out: Path, tell: Tell, repeats: Sequence[Question] = (), *, look: bool = False
) -> Answers:
    """Load the pipeline and draw every prompt with every seed; pictures are lossless PNG files in ``out``.

    Args:
        model: A whole pipeline.
        request: What to draw.
        out: Where to.
        tell: Hears of every picture.
        repeats: What to draw once more with everything varied that ought not to matter.
        look: Whether to write down what every layer answers as well.
    """
    with gc_paused():
        import diffusers  # noqa: F401 - its import is no part of the time that loading takes

    started = time.perf_counter()
    pipe, how = load(model, request.dtype)
    loaded = time.perf_counter() - started
    pipe.set_progress_bar_config(disable=True)
    pictures, seconds = [], []
    for index, prompt in enumerate(request.prompts):
        for seed in request.seeds:
            started = time.perf_counter()
            drawn = draw(pipe, prompt, seed, request.call)
            seconds.append(time.perf_counter() - started)
            pictures.append(keep(drawn, index, seed, out))
            tell({"drawn": len(pictures)})
    memory, device, threads, here = peak_memory(), _peak_device(), _threads(), hardware()
    repeated, varied = _repeat(pipe, request, repeats, out)
    if look:
        probes.write_answers(pipe, request.dtype, out / probes.FILE)
    return Answers(
        device=device_of(pipe),
        how=how,
        load_seconds=loaded,
        seconds_per_call=tuple(seconds),
        peak_memory_bytes=memory,
        peak_device_bytes=device,
        versions=_versions(model),
        processor=here["cpu"],
        cores=here["cores"],
        threads=threads,
        pictures=tuple(pictures),
        repeated=repeated,
        varied=varied,
        configs=_configs(pipe) if look else {},
        files=_small_files(model) if look else {},
    )


def draw(pipe: Any, prompt: str, seed: int, call: Mapping[str, Any]) -> Drawn:
    """Draw one picture.

    As values instead of a finished picture, because diffusers turns NaN into black pixels without a word.
    """
    import torch

    latents: list[Any] = []

    def see(_pipe: Any, _step: int, _time: Any, tensors: dict[str, Any]) -> dict[str, Any]:
        latents[:] = [tensors.get("latents")]
        return tensors

    further = {"callback_on_step_end": see} if _tells_latents(pipe) and not CALLBACKS & call.keys() else {}
    noise = torch.Generator("cpu").manual_seed(seed)
    output = pipe(prompt=prompt, generator=noise, output_type="np", **call, **further)
    blocked = getattr(output, "nsfw_content_detected", None) or [False]
    return Drawn(output.images[0], latents[0] if latents else None, bool(blocked[0]))


def _tells_latents(pipe: Any) -> bool:
    """Tell whether a call can be watched step by step, as those of most pipelines can."""
    return "callback_on_step_end" in inspect.signature(pipe.__call__).parameters


def _repeat(
    pipe: Any, request: Request, repeats: Sequence[Question], out: Path
) -> tuple[tuple[GeneratedImage, ...], str]:
    """Draw some pictures again with one thread and plain attention, and return them and what was varied."""
    import torch
    from torch.nn.attention import SDPBackend, sdpa_kernel

    if not repeats:
        return (), ""
    folder = out / REPEATED
    folder.mkdir(exist_ok=True)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    found = []
    with sdpa_kernel(SDPBackend.MATH):
        for index, seed in repeats:
            picture = keep(draw(pipe, request.prompts[index], seed, request.call), index, seed, folder)
            found.append(picture.moved(REPEATED))
    torch.set_num_threads(threads)
    told = "attention computed step by step instead of by a fused kernel"
    return tuple(found), f"{told}, on 1 thread instead of {threads}" if threads > 1 else told


def keep(drawn: Drawn, index: int, seed: int, out: Path) -> GeneratedImage:
    """Write one picture, rounded to 8 bits exactly as diffusers does it for its users, and its latents."""
    import numpy as np
    from diffusers import DiffusionPipeline

    finite = np.isfinite(drawn.values)
    image = DiffusionPipeline.numpy_to_pil(np.where(finite, drawn.values, 0.0))[0]
    path = out / f"{index:03d}-{seed}.png"
    image.save(path, format="PNG")
    latents = None
    if drawn.latents is not None:
        latents = path.with_suffix(".npy")
        np.save(latents, drawn.latents[0].float().cpu().numpy())
    return GeneratedImage(
        prompt=index,
        seed=seed,
        file=path.name,
        sha256=sha256_file(path),
        not_numbers=int(finite.size - finite.sum()),
        blocked=drawn.blocked,
        latents=latents.name if latents else None,
    )


def _configs(pipe: Any) -> dict[str, Any]:
    """Return the class and config of each component as loaded, as JSON."""
    found = {}
    for name, part in pipe.components.items():
        config: Any = getattr(part, "config", {})
        values = config.to_dict() if hasattr(config, "to_dict") else dict(config)
        found[name] = json.loads(json.dumps({"class": type(part).__name__, **values}, default=str))
    return found


def _small_files(model: Path) -> dict[str, str]:
    """Return the digests of vocabularies and the like: what is read beside weights, their indices and configs."""
    return {
        path.relative_to(model).as_posix(): sha256_file(path)
        for path in sorted(model.glob("*/*"))
        if path.suffix in SMALL and path.name != "config.json" and not path.name.endswith(".index.json")
    }


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


def _threads() -> int:
    import torch

    return int(torch.get_num_threads())


def _versions(model: Path) -> dict[str, str]:
    """Return the versions of Python, the model libraries and the backends this folder needs."""
    methods = {method for _, method in quantized_components(model).values()}
    backends = sorted(BACKENDS[method].DISTRIBUTION if method in BACKENDS else method for method in methods)
    return {"python": platform.python_version()} | installed_versions((*LIBRARIES, *backends))


if __name__ == "__main__":
    main()

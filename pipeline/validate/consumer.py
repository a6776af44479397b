"""The fresh process: loads a model as its users do, asks it every question of a request, and tells its parent.

`pipeline.validate.generate` starts it and says how the two talk.
"""

from __future__ import annotations

import json
import platform
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

from pipeline.backends import BACKENDS
from pipeline.backends.oracle.conversion import installed_versions
from pipeline.files import digest_of, sha256_file
from pipeline.source.chat_template import TEMPLATE, TOKENIZER, told
from pipeline.tasks import TASKS
from pipeline.tasks.answers import Answer, Answers, Request
from pipeline.tasks.loading import quantized_components
from pipeline.tasks.protocol import Given, LoadedModel, Medium, Task
from pipeline.validate import probes
from pipeline.validate.settings import settings
from pipeline.worker.child import Tell, WorkerError, serve
from pipeline.worker.hardware import hardware
from pipeline.worker.limits import peak_memory
from pipeline.worker.startup import gc_paused

Asked = tuple[int, int]  # the index of a question, and a seed
REPEATED = "repeated"  # the folder of what was asked twice
SMALL = frozenset({".json", ".txt", ".model", ".jinja"})
LIBRARIES = ("torch", "diffusers", "transformers", "accelerate", "safetensors")


def say(text: str, tell: Tell) -> dict[str, Any]:
    """Answer a request, or say why the model cannot be asked it."""
    job = json.loads(text)
    request = Request.model_validate(job["request"])
    repeats = [(index, seed) for index, seed in job["repeats"]]
    try:
        answers = answer(Path(job["model"]), request, Path(job["out"]), tell, repeats, look=job["look"])
    except WorkerError as error:
        return error.said
    return answers.model_dump(mode="json")


def answer(
    model: Path, request: Request, out: Path, tell: Tell, repeats: Sequence[Asked] = (), *, look: bool = False
) -> Answers:
    """Load a model, ask it every question with every seed, and measure what that takes.

    Args:
        model: The model's folder.
        request: The questions, seeds and arguments of the call.
        out: The folder for the answers' files.
        tell: Hears how many answers of all there are, after each.
        repeats: Questions and seeds to ask once more, with everything varied that ought not to matter.
        look: Whether to write down as well what was loaded: configs, small files, and what every layer answers.

    Returns:
        The answers, by question and then seed, with wall-clock seconds and the bytes that were resident at most until
        the last one; repetitions and layers are in neither. What a library raises is left to end the process, whose
        parent tells it.
    """
    task = TASKS[request.task]
    with gc_paused():
        for name in task.imports:
            import_module(name)  # no part of the time that loading takes

    started = time.perf_counter()
    loaded = task.load(model, request.dtype, task.loader)
    seconds_to_load = time.perf_counter() - started
    given, seconds = [], []
    asked = [(index, seed) for index in range(len(request.questions)) for seed in request.seeds]
    for index, seed in asked:
        started = time.perf_counter()
        found = task.ask(loaded, request, index, seed)
        seconds.append(time.perf_counter() - started)
        given.append(keep(task.medium, found, index, seed, out))
        tell(len(given), len(asked))
    memory, device, threads, here = peak_memory(), _peak_device(), _threads(), hardware()
    repeated, varied = _repeat(task, loaded, request, repeats, out)
    if look:
        probes.write_answers(loaded, request.dtype, out / probes.FILE)
    return Answers(
        device=device_of(loaded),
        how=loaded.how,
        load_seconds=seconds_to_load,
        seconds_per_call=tuple(seconds),
        peak_memory_bytes=memory,
        peak_device_bytes=device,
        versions=_versions(model),
        processor=here["cpu"],
        cores=here["cores"],
        threads=threads,
        task=request.task,
        given=tuple(given),
        repeated=repeated,
        varied=varied,
        configs=settings(loaded) if look else {},
        files=_small_files(model) if look else {},
    )


def _repeat(
    task: Task, loaded: LoadedModel, request: Request, repeats: Sequence[Asked], out: Path
) -> tuple[tuple[Answer, ...], str]:
    """Ask some questions again with one thread and plain attention, and return the answers and what was varied.

    Neither ought to matter: by how much they move an answer is the model's own noise.
    """
    if not repeats:
        return (), ""
    folder, threads, found = out / REPEATED, _threads(), []
    folder.mkdir(exist_ok=True)
    with varied():
        for index, seed in repeats:
            given = keep(task.medium, task.ask(loaded, request, index, seed), index, seed, folder)
            found.append(given.moved(REPEATED))
    told = "attention computed step by step instead of by a fused kernel"
    return tuple(found), f"{told}, on 1 thread instead of {threads}" if threads > 1 else told


@contextmanager
def varied() -> Iterator[None]:
    """Compute with one thread and plain attention."""
    import torch
    from torch.nn.attention import SDPBackend, sdpa_kernel

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with sdpa_kernel(SDPBackend.MATH):
            yield
    finally:
        torch.set_num_threads(threads)


def keep(medium: Medium, given: Given, index: int, seed: int, out: Path) -> Answer:
    """Write one answer as ``<question>-<seed>`` with the medium's suffix, and what is besides it as ``.npy`` files.

    A value that is NaN or infinite is written as 0, and the answer's fault tells how many were.
    """
    import numpy as np

    finite = np.isfinite(given.values)
    path = out / f"{index:03d}-{seed}{medium.suffix}"
    medium.save(replace(given, values=np.where(finite, given.values, 0.0)), path)
    besides = {}
    for name, values in given.besides.items():
        file = path.with_name(f"{path.stem}.{name}.npy")
        np.save(file, values)
        besides[name] = file.name
    missing = int(finite.size - finite.sum())
    fault = f"broken: {missing} of its values are NaN or infinite" if missing else given.fault
    return Answer(prompt=index, seed=seed, file=path.name, sha256=sha256_file(path), fault=fault, besides=besides)


def device_of(loaded: LoadedModel) -> str:
    """Return ``cpu``, or ``cuda`` with the GPU's name."""
    import torch

    return f"cuda ({torch.cuda.get_device_name()})" if loaded.device.type == "cuda" else "cpu"


def _small_files(model: Path) -> dict[str, str]:
    """Return the digests of vocabularies and the like: what is read beside weights, their indices and configs."""
    inner = "[!.]*/[!.]*" if (model / "model_index.json").exists() else "[!.]*"  # hidden is what fetching left
    found = {
        path.relative_to(model).as_posix(): sha256_file(path)
        for path in sorted(model.glob(inner))
        if path.suffix in SMALL and path.name != "config.json" and not path.name.endswith(".index.json")
    }
    if {TEMPLATE, TOKENIZER} <= found.keys():  # a result may tell in both what its source tells in one
        found[TOKENIZER] = digest_of(told(model))
    return found


def _peak_device() -> int | None:
    """Return the most bytes that torch allocated on the GPU; None without one."""
    import torch

    return int(torch.cuda.max_memory_allocated()) if torch.cuda.is_available() else None


def _threads() -> int:
    """Return how many threads torch computes with."""
    import torch

    return int(torch.get_num_threads())


def _versions(model: Path) -> dict[str, str]:
    """Return the versions of Python, the model libraries and the backends that the model was quantized by."""
    methods = {method for _, method in quantized_components(model).values()}
    backends = sorted(BACKENDS[method].DISTRIBUTION if method in BACKENDS else method for method in methods)
    return {"python": platform.python_version()} | installed_versions((*LIBRARIES, *backends))


if __name__ == "__main__":
    serve(say)

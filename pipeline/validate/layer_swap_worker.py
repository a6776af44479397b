"""The process of trials: a quantized model is loaded once and answers with some layers as its source has them.

Its jobs are trials of one model; one that asks nothing only loads it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from pipeline.tasks import TASKS
from pipeline.tasks.answers import Request
from pipeline.tasks.protocol import LoadedModel
from pipeline.validate.consumer import keep
from pipeline.worker.child import Tell, serve


class Swap(BaseModel):
    """A quantized layer that answers as the source's own.

    Attributes:
        component: Such as ``transformer``.
        module: The layer's name in it.
        file: The source's safetensors file that holds its weight.
        tensor: The weight's name there.
        dtype: The torch dtype that it would have if it were kept.
        transposed: Whether the source stores it turned, as (in, out).
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    component: str
    module: str
    file: str
    tensor: str
    dtype: str
    transposed: bool = False


class Trial(BaseModel):
    """What is asked with which layers of the source.

    Attributes:
        model: The model's folder.
        request: All questions, and how the model is called.
        out: The folder for the answers.
        questions: The index of a question and a seed for each.
        swaps: The layers.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: Path
    request: Request
    out: Path
    questions: tuple[tuple[int, int], ...]
    swaps: tuple[Swap, ...]


def say(job: str, tell: Tell) -> dict[str, Any]:
    """Answer a trial."""
    trial = Trial.model_validate_json(job)
    request, task = trial.request, TASKS[trial.request.task]
    loaded = load(trial.model, request.task, request.dtype)
    answers: list[dict[str, Any]] = []
    with swapped(loaded, trial.swaps):
        for index, seed in trial.questions:
            given = keep(task.medium, task.ask(loaded, request, index, seed), index, seed, trial.out)
            answers.append(given.model_dump(mode="json"))
            tell(len(answers), len(trial.questions))
    return {"answers": answers}


@cache
def load(model: Path, task: str, dtype: str) -> LoadedModel:
    """Return the model, which is loaded once."""
    return TASKS[task].load(model, dtype, TASKS[task].loader)


@contextmanager
def swapped(loaded: LoadedModel, swaps: Sequence[Swap]) -> Iterator[None]:
    """Have layers of a model answer as the source's, until the block ends."""
    before = []
    try:
        for swap in swaps:
            path, _, leaf = swap.module.rpartition(".")
            parent = loaded.components[swap.component].get_submodule(path)
            quantized = getattr(parent, leaf)
            before.append((parent, leaf, quantized))
            setattr(parent, leaf, _full(swap, quantized, loaded.device))
        yield
    finally:
        for parent, leaf, quantized in reversed(before):
            setattr(parent, leaf, quantized)


def _full(swap: Swap, quantized: Any, device: Any) -> Any:
    """Return a plain Linear with the source's weight and the bias that the quantized one has."""
    import torch
    from safetensors import safe_open

    with safe_open(swap.file, "pt") as source:
        weight = source.get_tensor(swap.tensor).to(device=device, dtype=getattr(torch, swap.dtype))
    rows, columns = (weight.t() if swap.transposed else weight).shape
    linear = torch.nn.Linear(columns, rows, bias=False, device="meta")
    linear.weight = torch.nn.Parameter((weight.t() if swap.transposed else weight).contiguous(), requires_grad=False)
    linear.bias = quantized.bias
    return linear


if __name__ == "__main__":
    serve(say)

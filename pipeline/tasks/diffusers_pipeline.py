"""Pipelines of diffusers: load one as its users do, and draw with it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from pipeline.backends.oracle.call import taken
from pipeline.recipe.problems import nearest
from pipeline.tasks.loading import from_pretrained
from pipeline.tasks.protocol import Given, LoadedModel
from pipeline.worker.child import WorkerError

WATCH: Final = "callback_on_step_end"


def load(model: Path, dtype: str, loader: str) -> LoadedModel:
    """Load a pipeline onto the GPU if there is one, else onto the CPU.

    Args:
        model: A whole pipeline, with ``model_index.json``.
        dtype: Name of a torch dtype for everything that is not quantized.
        loader: The class of diffusers that loads it.
    """
    import diffusers
    import torch

    kind = getattr(diffusers, loader)
    found = from_pretrained(kind, model, lambda pipe: pipe.components, {"dtype": getattr(torch, dtype)})
    found.model.set_progress_bar_config(disable=True)
    if not torch.cuda.is_available():
        return found
    pipe = found.model.to("cuda")
    return LoadedModel(pipe, pipe.components, pipe.device, found.how)


def draw(loaded: LoadedModel, seed: int, call: Mapping[str, Any], made: str = "images") -> Given:
    """Draw one picture, values in [0, 1] of shape (height, width, channels), or a video of shape (frames, ...).

    As values instead of a finished picture, because diffusers turns NaN into black pixels without a word. Besides are
    the ``latents`` that were decoded, without their first dimension, where the pipeline lets them be seen.

    Args:
        loaded: The pipeline.
        seed: The seed of the noise.
        call: What the pipeline is called with, except what is set here.
        made: The field of its output that has it.

    Raises:
        WorkerError: Its call does not take one of them.
        TypeError: Its output has no such field.
    """
    import torch

    pipe = loaded.model
    require_taken(pipe, call)
    latents: list[Any] = []

    def see(_pipe: Any, _step: int, _time: Any, tensors: dict[str, Any]) -> dict[str, Any]:
        latents[:] = [tensors.get("latents")]
        return tensors

    further = {WATCH: see} if WATCH in taken(type(pipe)) else {}  # as those of most pipelines can be watched
    noise = torch.Generator("cpu").manual_seed(seed)
    output = pipe(generator=noise, output_type="np", **call, **further)
    blocked = getattr(output, "nsfw_content_detected", None) or [False]
    besides = {"latents": latents[0][0].float().cpu().numpy()} if latents and latents[0] is not None else {}
    if made not in output:
        raise TypeError(f"{type(pipe).__name__} makes {' and '.join(output)}, and this task wants {made}")
    return Given(output[made][0], besides, "blocked by the pipeline's safety checker" if blocked[0] else "")


def require_taken(pipe: Any, call: Mapping[str, Any]) -> None:
    """Refuse arguments that the call of a pipeline does not take.

    Raises:
        WorkerError: There is one.
    """
    known = taken(type(pipe))
    for name in sorted(call.keys() - {*known}):
        meant = nearest(name, known)
        what = f"{type(pipe).__name__} takes no {name!r}" + (f"; did you mean {meant!r}?" if meant else ".")
        raise WorkerError("recipe", what, "Correct that key, or the task of the recipe.", "validation.call")

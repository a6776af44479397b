"""What a pipeline of diffusers takes when it is called, as its class says."""

from __future__ import annotations

import inspect
from typing import Any, Final

from pipeline.worker.child import WorkerError

LINKED: Final = {  # which classes each of them may make of a pipeline, and what it makes of those with a control input
    "AutoPipelineForText2Image": ("AUTO_TEXT2IMAGE_PIPELINES_MAPPING", "ControlPipeline"),
    "AutoPipelineForImage2Image": ("AUTO_IMAGE2IMAGE_PIPELINES_MAPPING", "ControlImg2ImgPipeline"),
    "AutoPipelineForInpainting": ("AUTO_INPAINT_PIPELINES_MAPPING", "ControlInpaintPipeline"),
}


def taken(kind: type) -> tuple[str, ...]:
    """Return the names of the arguments that the call of a pipeline takes, in their order.

    ``**kwargs`` takes none. Some classes of diffusers 0.42 have it, and look there for callbacks of earlier versions,
    which are functions, and for nothing else that does anything; a misspelt word is passed over in it without notice.
    """
    found = list(inspect.signature(kind.__call__).parameters.values())[1:]
    return tuple(one.name for one in found if one.kind not in {one.VAR_POSITIONAL, one.VAR_KEYWORD})


def loaded_as(loader: str, name: str) -> Any:
    """Return the class that a loader of diffusers makes of a pipeline whose index names this one, as it finds that.

    Raises:
        WorkerError: The library has no such class, or the loader makes nothing of it.
    """
    import diffusers

    own = getattr(diffusers, name, None)
    if not (isinstance(own, type) and issubclass(own, diffusers.DiffusionPipeline)):
        what = f"The installed diffusers has no pipeline {name}."
        remedy = "Only pipelines of the library itself are loaded; correct the source, or install a newer diffusers."
        raise WorkerError("source", what, remedy)
    if loader not in LINKED:
        kind = getattr(diffusers, loader)
        return own if kind is diffusers.DiffusionPipeline else kind
    from diffusers.pipelines import auto_pipeline as auto

    mapping, controlled = LINKED[loader]
    found = auto._get_task_class(
        getattr(auto, mapping), name.replace("ControlPipeline", controlled), throw_error_if_not_exist=False
    )
    if found is None:
        what = f"{loader} of the installed diffusers makes nothing of a {name}."
        raise WorkerError("recipe", what, "Correct the task of the recipe, or its source.")
    return found

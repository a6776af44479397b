"""Text to image: a prompt and a seed become a picture."""

from __future__ import annotations

from typing import Annotated, Final

from pydantic import AfterValidator, Field

from pipeline.recipe import names
from pipeline.recipe.schema import Argument, Keyword, Validation
from pipeline.tasks.answers import Request
from pipeline.tasks.diffusers_pipeline import draw, load
from pipeline.tasks.images.medium import IMAGES
from pipeline.tasks.images.require import Require
from pipeline.tasks.protocol import Given, LoadedModel, Task

OWNED: Final = {  # arguments of a call that the validation sets
    "callback_on_step_end": "it is a function, by which the latents are seen",
    "callback_on_step_end_tensor_inputs": "the latents are seen",
    "generator": "the seeds come from 'seeds:'",
    "output_type": "the images are always compared as arrays",
    "prompt": "the prompts come from 'prompts:'",
    "return_dict": "the images are always taken from the pipeline's output object",
}


def free(text: str) -> str:
    """Return an argument of a call that a recipe may set, or raise `UnfitError`."""
    if owner := OWNED.get(text):
        raise names.UnfitError(f"'{text}' cannot be set here: {owner}")
    return text


Call = Annotated[
    dict[Annotated[Keyword, AfterValidator(free)], Argument],
    Field(default_factory=dict, description="Keyword arguments of the pipeline's call."),
]


class TextToImageValidation(Validation):
    """How the targets are judged against the source."""

    call: Call
    require: Require = Field(description="What a target must reach to be published.")


def ask(loaded: LoadedModel, request: Request, question: int, seed: int) -> Given:
    """Draw a prompt."""
    return draw(loaded, seed, {"prompt": request.questions[question].prompt, **request.call})


TEXT_TO_IMAGE: Final = Task(
    medium=IMAGES,
    validation=TextToImageValidation,
    library="diffusers",
    loader="DiffusionPipeline",
    usage="diffusers.py.jinja",
    installs=("diffusers", "transformers", "accelerate"),
    imports=("diffusers",),
    load=load,
    ask=ask,
)

"""Image to image: a picture, a prompt and a seed become another picture; inpainting changes what a mask shows of it."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from pipeline.tasks.answers import Request
from pipeline.tasks.diffusers_pipeline import draw
from pipeline.tasks.images.medium import read
from pipeline.tasks.protocol import Given, LoadedModel
from pipeline.tasks.text_to_image import TEXT_TO_IMAGE


def ask(loaded: LoadedModel, request: Request, question: int, seed: int) -> Given:
    """Change a question's picture as its prompt says; its files are called as the pipeline's arguments."""
    asked = request.questions[question]
    files = {role: read(request.file(question, role)) for role in asked.files}
    return draw(loaded, seed, {"prompt": asked.prompt, **files, **request.call})


IMAGE_TO_IMAGE: Final = replace(
    TEXT_TO_IMAGE,
    loader="AutoPipelineForImage2Image",
    ask=ask,
    files={"image": "the picture that is changed"},
    open_file=read,
)
INPAINTING: Final = replace(
    IMAGE_TO_IMAGE,
    tag="image-to-image",
    loader="AutoPipelineForInpainting",
    files={"image": "the picture that is changed", "mask_image": "white where it is changed"},
)

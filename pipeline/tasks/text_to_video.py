"""Text to video: a prompt and a seed become frames, which are compared as one picture, beneath each other."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

from pydantic import Field

from pipeline.recipe.clause import optional
from pipeline.recipe.require import SIZE_RATIO_MEANS, RatioAtMost, Requirements
from pipeline.recipe.schema import Validation
from pipeline.tasks.answers import Request
from pipeline.tasks.diffusers_pipeline import draw
from pipeline.tasks.images import medium as images
from pipeline.tasks.images.latents import LATENT_COSINE
from pipeline.tasks.images.pixels import PSNR, SSIM
from pipeline.tasks.images.require import AtLeast, SimilarityAtLeast
from pipeline.tasks.images.sheet import write_sheet
from pipeline.tasks.metrics import metrics_of
from pipeline.tasks.protocol import Given, LoadedModel
from pipeline.tasks.text_to_image import TEXT_TO_IMAGE, Call

if TYPE_CHECKING:
    from PIL import Image


class Require(Requirements):
    """What a target must reach to be published; at least one requirement."""

    psnr: Annotated[AtLeast | None, PSNR] = optional("Peak signal-to-noise ratio against the source's frames.")
    ssim: Annotated[SimilarityAtLeast | None, SSIM] = optional("Structural similarity to the source's frames.")
    latent_cosine: Annotated[SimilarityAtLeast | None, LATENT_COSINE] = optional(
        "Cosine of what both decode into frames."
    )
    size_ratio: RatioAtMost | None = optional(SIZE_RATIO_MEANS)


class TextToVideoValidation(Validation):
    """How the targets are judged against the source."""

    call: Call
    require: Require = Field(description="What a target must reach to be published.")


def ask(loaded: LoadedModel, request: Request, question: int, seed: int) -> Given:
    """Draw the frames of a prompt."""
    return draw(loaded, seed, {"prompt": request.questions[question].prompt, **request.call}, "frames")


def save(given: Given, path: Path) -> None:
    """Write frames, values in [0, 1] of shape (frames, height, width, channels), as an animated PNG.

    Nothing is lost: where no duration is said, Pillow does not make one of frames that are the same.
    """
    from diffusers import DiffusionPipeline

    first, *others = DiffusionPipeline.numpy_to_pil(given.values)
    first.save(path, format="PNG", save_all=True, append_images=others, loop=0)


def frames(path: Path) -> list[Image.Image]:
    """Return the frames of a file in RGB."""
    from PIL import Image, ImageSequence

    with Image.open(path) as image:
        return [frame.convert("RGB") for frame in ImageSequence.Iterator(image)]


def read(path: Path) -> Image.Image:
    """Return the frames of a file beneath each other; ``info["frames"]`` is how many they are."""
    from PIL import Image

    every = frames(path)
    width, height = every[0].size
    column = Image.new("RGB", (width, height * len(every)))
    for number, frame in enumerate(every):
        column.paste(frame, (0, number * height))
    column.info["frames"] = len(every)
    return column


def cut(column: Image.Image) -> list[Image.Image]:
    """Return the frames of a column."""
    count = column.info["frames"]
    height = column.height // count
    return [column.crop((0, number * height, column.width, (number + 1) * height)) for number in range(count)]


def unlike(reference: Image.Image, candidate: Image.Image) -> tuple[str, str] | None:
    """Return that two videos have other sizes or other numbers of frames, and what to do about it."""
    own, other = cut(reference), cut(candidate)
    if (len(own), own[0].size) == (len(other), other[0].size):
        return None
    made = [f"{len(every)} frames of {every[0].size} pixels" for every in (own, other)]
    return (
        f"The source drew {made[0]} and the candidate {made[1]}",
        "State height, width and num_frames under validation.call.",
    )


def fault(video: Image.Image, own: Image.Image) -> str:
    """Return what makes a video none: a frame that is no picture where the source's is one, or no frame that is one."""
    found = [images.fault(frame) for frame in cut(video)]
    if not any(found):
        return ""
    for number, (what, before) in enumerate(zip(found, map(images.fault, cut(own)), strict=True), 1):
        if what and (not before or all(found)):
            return f"{what} in frame {number} of {len(found)}"
    return ""


def beside(reference: Path, candidate: Path, to: Path) -> None:
    """Write one PNG with the middle frame of the source's video on the left and of the candidate's on the right."""
    own, other = frames(reference), frames(candidate)
    write_sheet(own[len(own) // 2], other[len(other) // 2], to)


TEXT_TO_VIDEO: Final = replace(
    TEXT_TO_IMAGE,
    medium=replace(
        images.IMAGES,
        noun="video",
        save=save,
        open=read,
        unlike=unlike,
        fault=fault,
        beside=beside,
        part="the middle frame",
        metrics=metrics_of(Require),
    ),
    ask=ask,
    validation=TextToVideoValidation,
    usage="video.py.jinja",
)

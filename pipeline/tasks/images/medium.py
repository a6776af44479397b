"""Pictures: how they are kept, compared and shown, and what makes one none."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from pipeline.tasks.images.require import Require
from pipeline.tasks.images.sheet import write_sheet
from pipeline.tasks.metrics import metrics_of
from pipeline.tasks.protocol import IDENTICAL, Given, Medium

if TYPE_CHECKING:
    from PIL import Image

FLAT: Final = 1.0  # levels of 255: a picture whose values spread less around their mean is one colour to the eye
SATURATED: Final = 0.98  # share of values at 0 or 255 above which nothing is left between black and white
ALIKE: Final = 1.0  # levels of mean difference below which two pictures are the same to the eye
SKETCH: Final = (32, 32)  # pixels of what is compared for that


def save(given: Given, path: Path) -> None:
    """Write a picture, values in [0, 1] of shape (height, width, channels), as diffusers does it for its users."""
    from diffusers import DiffusionPipeline

    DiffusionPipeline.numpy_to_pil(given.values)[0].save(path, format="PNG")


def read(path: Path) -> Image.Image:
    """Return a picture in RGB, upright as its EXIF data say: as ``load_image`` of diffusers gives it to its users."""
    from PIL import Image, ImageOps

    with Image.open(path) as image:
        return ImageOps.exif_transpose(image).convert("RGB")


def beside(reference: Path, candidate: Path, to: Path) -> None:
    """Write one PNG with the source's picture on the left and the candidate's on the right."""
    write_sheet(read(reference), read(candidate), to)


def unlike(reference: Image.Image, candidate: Image.Image) -> tuple[str, str] | None:
    """Return that two pictures have other sizes, and what to do about it."""
    if reference.size == candidate.size:
        return None
    what = f"The source drew {reference.size} pixels and the candidate {candidate.size}"
    return what, "State height and width under validation.call."


def fault(image: Image.Image, _: Any = None) -> str:
    """Return what makes a picture none, as the end of the sentence "it is ..."; empty for a picture."""
    if is_flat(image):
        return "one flat colour"
    if saturation(image) > SATURATED:
        return f"saturated: {saturation(image):.0%} of its values are black or full"
    return ""


def is_flat(image: Image.Image) -> bool:
    """Tell whether a picture is one colour, or as good as one."""
    import numpy as np

    return bool(np.asarray(image.convert("RGB"), dtype=np.float32).std(axis=(0, 1)).max() < FLAT)


def saturation(image: Image.Image) -> float:
    """Return the share of values that are 0 or 255."""
    import numpy as np

    values = np.asarray(image.convert("RGB"))
    return float(((values == 0) | (values == 255)).mean())


def sketch(image: Image.Image) -> Any:
    """Return a picture in few pixels, as an array of shape (height, width, 3)."""
    import numpy as np

    return np.asarray(image.resize(SKETCH), dtype=np.float32)


def psnr(one: Any, other: Any) -> float:
    """Return the PSNR between two pictures with values in [0, 1], in decibels; 0 where one is not finite."""
    import numpy as np

    error = float(np.mean((np.asarray(one, np.float64) - np.asarray(other, np.float64)) ** 2))
    if not np.isfinite(error):
        return 0.0
    return min(IDENTICAL, float(-10 * np.log10(error))) if error else IDENTICAL


IMAGES: Final = Medium(
    noun="picture",
    suffix=".png",
    save=save,
    open=read,
    content=lambda image: bytes(image.tobytes()),
    unlike=unlike,
    fault=fault,
    sketch=sketch,
    alike=ALIKE,
    decibels=psnr,
    metrics=metrics_of(Require),
    ranking="psnr",
    packages=("torchmetrics",),
    imports=("torchmetrics.functional.image",),
    judge_imports=("transformers.image_processing_utils", "transformers.models.clip.modeling_clip"),
    beside=beside,
)

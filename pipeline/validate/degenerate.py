"""Answers that are no pictures: on the candidate's side they fail it, on the source's side nothing can be judged."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pipeline.errors import RecipeError
from pipeline.tasks.answers import GeneratedImage

if TYPE_CHECKING:
    from PIL import Image

    from pipeline.tasks.images import Pair
    from pipeline.validate.pairs import Side

FLAT = 1.0  # levels of 255: a picture whose values spread less than this around their mean is one colour to the eye
SATURATED = 0.98  # share of values at 0 or 255 above which nothing is left between black and white
ALIKE = 1.0  # levels of mean difference below which two pictures are the same to the eye


def faults_of(picture: GeneratedImage, image: Image.Image) -> str:
    """Return what makes an answer no picture, as the end of the sentence "the picture is ..."; empty for a picture."""
    if picture.not_numbers:
        return f"broken: {picture.not_numbers} of its values are NaN or infinite"
    if picture.blocked:
        return "blocked by the pipeline's safety checker"
    if is_flat(image):
        return "one flat colour"
    if saturation(image) > SATURATED:
        return f"saturated: {saturation(image):.0%} of its values are black or full"
    return ""


def degenerate_candidate(side: Side, pairs: Sequence[Pair]) -> list[str]:
    """Return for every pair what makes the candidate's answer no picture; empty for a picture.

    What the source does as well is no fault of the candidate's: of drawings in black and white most values are full.
    """
    found = []
    twins = _twins([pair.candidate for pair in pairs], pairs)
    own = _twins([pair.reference for pair in pairs], pairs)
    for index, (picture, pair) in enumerate(zip(side.answers.pictures, pairs, strict=True)):
        fault = faults_of(picture, pair.candidate)
        if not fault and index in twins and index not in own:
            fault = f"the same as that for {pairs[twins[index]].prompt!r}"
        found.append(fault)
    return found


def refuse_degenerate_source(side: Side, pairs: Sequence[Pair]) -> None:
    """Refuse a reference that is itself no picture: two grey pictures match, and that says nothing.

    Raises:
        RecipeError: An answer of the source is degenerate, or two prompts get the same picture.
    """
    for picture, pair in zip(side.answers.pictures, pairs, strict=True):
        if fault := faults_of(picture, pair.reference):
            raise _degenerate(f"The picture for {pair.prompt!r} with seed {pair.seed} is {fault}.", side)
    exact = _exact_twins(pairs)
    if exact:
        first, second = exact
        what = f"The prompts {first.prompt!r} and {second.prompt!r} give the same picture with seed {first.seed}."
        raise _degenerate(what, side)


def is_flat(image: Image.Image) -> bool:
    """Tell whether a picture is one colour, or as good as one."""
    import numpy as np

    return bool(np.asarray(image.convert("RGB"), dtype=np.float32).std(axis=(0, 1)).max() < FLAT)


def saturation(image: Image.Image) -> float:
    """Return the share of values that are 0 or 255."""
    import numpy as np

    values = np.asarray(image.convert("RGB"))
    return float(((values == 0) | (values == 255)).mean())


def _twins(images: Sequence[Image.Image], pairs: Sequence[Pair]) -> Mapping[int, int]:
    """Return for pictures that look like an earlier one of another prompt and the same seed the index of that one."""
    import numpy as np

    small = [np.asarray(image.resize((32, 32)), dtype=np.float32) for image in images]
    found: dict[int, int] = {}
    for index, pair in enumerate(pairs):
        for before in range(index):
            other = pairs[before]
            if other.seed == pair.seed and other.prompt != pair.prompt and _alike(small[index], small[before]):
                found[index] = before
                break
    return found


def _alike(one: Any, other: Any) -> bool:
    return bool(one.shape == other.shape and abs(one - other).mean() < ALIKE)


def _exact_twins(pairs: Sequence[Pair]) -> tuple[Pair, Pair] | None:
    """Return the first two prompts that have the very same picture of the source for the same seed."""
    seen: dict[tuple[int, bytes], Pair] = {}
    for pair in pairs:
        other = seen.setdefault((pair.seed, pair.reference.tobytes()), pair)
        if other.prompt != pair.prompt:
            return other, pair
    return None


def _degenerate(what: str, side: Side) -> RecipeError:
    return RecipeError(
        f"The source's own answers are degenerate, so nothing can be judged against them. {what}",
        where=str(side.folder),
        remedy="Look at the pictures; correct the prompts, the arguments of the call, the dtype or the source.",
    )

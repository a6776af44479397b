"""Two folders of answers become pairs of pictures, checked before anything is measured on them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image
from pydantic import BaseModel, ConfigDict

from pipeline.errors import SourceError
from pipeline.files import sha256_file
from pipeline.quality.answers import Answers, GenerationError, Picture
from pipeline.quality.metrics import Pair


class Prompt(BaseModel):
    """A prompt and, if the prompts say, the label of what its picture must show."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    text: str
    label: str | None = None


@dataclass(frozen=True)
class Side:
    """The source's or a candidate's answers and the folder that holds their pictures."""

    answers: Answers
    folder: Path


def pair_up(reference: Side, candidate: Side, prompts: Sequence[Prompt]) -> tuple[Pair, ...]:
    """Return the pictures of both sides by prompt and seed.

    Raises:
        GenerationError: The sides answered different questions, in different sizes, or a file has changed since.
    """
    asked = [(picture.prompt, picture.seed) for picture in reference.answers.pictures]
    if not asked or asked != [(picture.prompt, picture.seed) for picture in candidate.answers.pictures]:
        raise _unlike("The source and the candidate did not answer the same prompts and seeds.", candidate)
    both = zip(reference.answers.pictures, candidate.answers.pictures, strict=True)
    return tuple(
        _pair(prompts[own.prompt], own.seed, _open(reference, own), _open(candidate, other)) for own, other in both
    )


def degenerate(side: Side, pictures: Sequence[Image.Image], prompts: Sequence[Prompt]) -> list[str]:
    """Return a sentence for every answer that is no picture: NaN in it, or one flat colour."""
    faults = []
    for answer, image in zip(side.answers.pictures, pictures, strict=True):
        place = f"for the prompt {prompts[answer.prompt].text!r} with seed {answer.seed}"
        if answer.not_numbers:
            faults.append(f"The pipeline returned {answer.not_numbers} values that are NaN or infinite {place}.")
        elif is_flat(image):
            faults.append(f"The picture {place} is one flat colour.")
    return faults


def refuse_degenerate_source(side: Side, pairs: Sequence[Pair], prompts: Sequence[Prompt]) -> None:
    """Raise SourceError where the reference itself is no picture: nothing can be judged against it."""
    if faults := degenerate(side, [pair.reference for pair in pairs], prompts):
        raise SourceError(
            f"The source's own answers are degenerate. {faults[0]}",
            where=str(side.folder),
            remedy="Look at the pictures; correct the prompts, the arguments of the call, the dtype or the source.",
        )


def is_flat(image: Image.Image) -> bool:
    """Tell whether every pixel has the same colour."""
    colours = image.convert("RGB").getcolors(maxcolors=1)
    return colours is not None


def identical(pair: Pair) -> bool:
    """Tell whether both pictures hold the same pixels."""
    return pair.reference.tobytes() == pair.candidate.tobytes()


def _pair(prompt: Prompt, seed: int, reference: Image.Image, candidate: Image.Image) -> Pair:
    if reference.size != candidate.size:
        raise GenerationError(
            f"The source drew {reference.size} pixels and the candidate {candidate.size}, for {prompt.text!r}.",
            remedy="State height and width under validation.call.",
        )
    return Pair(prompt.text, prompt.label, seed, reference, candidate)


def _open(side: Side, picture: Picture) -> Image.Image:
    path = side.folder / picture.file
    if not path.is_file() or sha256_file(path) != picture.sha256:
        raise _unlike(f"The picture {picture.file} is not the one that was drawn.", side)
    with Image.open(path) as image:
        return image.convert("RGB")


def _unlike(what: str, side: Side) -> GenerationError:
    return GenerationError(what, where=str(side.folder), remedy="Remove the folder and validate again.")

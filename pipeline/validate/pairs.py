"""Two folders of answers become pairs of pictures, checked before anything is measured on them."""

from __future__ import annotations

from collections.abc import Container, Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image
from pydantic import BaseModel, ConfigDict

from pipeline.errors import GenerationError
from pipeline.files import sha256_file
from pipeline.tasks.answers import Answers, GeneratedImage
from pipeline.tasks.images import Pair


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

    def without(self, prompts: Container[int]) -> Side:
        """Return the same side as if some prompts, by their index, had not been asked."""
        told = self.answers
        kept = [number for number, picture in enumerate(told.pictures) if picture.prompt not in prompts]
        fewer = {
            "pictures": tuple(told.pictures[number] for number in kept),
            "seconds_per_call": tuple(told.seconds_per_call[number] for number in kept),
            "repeated": tuple(picture for picture in told.repeated if picture.prompt not in prompts),
        }
        return Side(told.model_copy(update=fewer), self.folder)


def pair_up(reference: Side, candidate: Side, prompts: Sequence[Prompt]) -> tuple[Pair, ...]:
    """Return the pictures of both sides by prompt and seed.

    Raises:
        GenerationError: The sides answered different questions, in different sizes, or a file has changed since.
    """
    asked = [(picture.prompt, picture.seed) for picture in reference.answers.pictures]
    if not asked or asked != [(picture.prompt, picture.seed) for picture in candidate.answers.pictures]:
        raise _unlike("The source and the candidate did not answer the same prompts and seeds.", candidate)
    both = zip(reference.answers.pictures, candidate.answers.pictures, strict=True)
    return tuple(_pair(prompts, (reference, own), (candidate, other)) for own, other in both)


def repeated_pairs(reference: Side, prompts: Sequence[Prompt]) -> tuple[Pair, ...]:
    """Return the source's first answers beside those it gave when it was asked again."""
    first = {(picture.prompt, picture.seed): picture for picture in reference.answers.pictures}
    again = reference.answers.repeated
    return tuple(_pair(prompts, (reference, first[one.prompt, one.seed]), (reference, one)) for one in again)


def identical(pair: Pair) -> bool:
    """Tell whether both pictures hold the same pixels."""
    return pair.reference.tobytes() == pair.candidate.tobytes()


def _pair(prompts: Sequence[Prompt], own: tuple[Side, GeneratedImage], other: tuple[Side, GeneratedImage]) -> Pair:
    prompt = prompts[own[1].prompt]
    reference, candidate = _open(*own), _open(*other)
    if reference.size != candidate.size:
        raise GenerationError(
            f"The source drew {reference.size} pixels and the candidate {candidate.size}, for {prompt.text!r}.",
            remedy="State height and width under validation.call.",
        )
    return Pair(own[1].prompt, prompt.text, prompt.label, own[1].seed, reference, candidate, _latents(own, other))


def _latents(own: tuple[Side, GeneratedImage], other: tuple[Side, GeneratedImage]) -> tuple[Path, Path] | None:
    """Return the files of both sides' latents, where both kept them."""
    kept = [side.folder / picture.latents for side, picture in (own, other) if picture.latents]
    return (kept[0], kept[1]) if len(kept) == 2 else None


def _open(side: Side, picture: GeneratedImage) -> Image.Image:
    path = side.folder / picture.file
    if not path.is_file() or sha256_file(path) != picture.sha256:
        raise _unlike(f"The picture {picture.file} is not the one that was drawn.", side)
    with Image.open(path) as image:
        return image.convert("RGB")


def _unlike(what: str, side: Side) -> GenerationError:
    return GenerationError(what, where=str(side.folder), remedy="Remove the folder and validate again.")

"""Pictured: the answer that a card shows, held against the one that is given here to the same question."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Final

from pydantic import ValidationError

from pipeline.card.compose import judged_in
from pipeline.card.context import shown
from pipeline.errors import CardError
from pipeline.hub.release_files import REPORT, WORST
from pipeline.tasks.answers import Request
from pipeline.tasks.images.medium import read, sketch
from pipeline.tasks.protocol import Medium

FAR: Final = 32.0  # of 255 levels, in the mean over a picture in few pixels: noise is about as far from any photograph


def question_shown(folder: Path, request: Request) -> Request | None:
    """Return a request for the answer that a card shows first; None where it shows none.

    Args:
        folder: Of a release, at least its report and that picture.
        request: Everything that was asked of it.
    """
    if not (folder / WORST).is_file():
        return None
    try:
        pair = shown(judged_in(json.loads((folder / REPORT).read_bytes()))).worst
        question = request.questions[pair.prompt]
    except (OSError, ValueError, ValidationError, AttributeError, CardError, IndexError):
        return None
    return request.model_copy(update={"questions": (question,), "seeds": (pair.seed,)})


def apart(medium: Medium, answer: Path, folder: Path, aside: Path) -> float:
    """Return how far an answer is from the one that a card shows, in levels of 255; 0 where they are not comparable.

    Args:
        medium: The kind of answer.
        answer: The answer.
        folder: Of the release.
        aside: Where an answer is drawn as a card shows it.
    """
    if medium.beside is None:
        return 0.0
    drawn = aside / "drawn.png"
    medium.beside(answer, answer, drawn)
    own, other = (
        picture.crop((picture.width // 2, 0, *picture.size)) for picture in map(read, (drawn, folder / WORST))
    )
    return float(abs(sketch(own) - sketch(other)).mean()) if own.size == other.size else 0.0

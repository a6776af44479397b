"""Made up: questions in place of a dataset's, with the sounds and pictures that they are about."""

from __future__ import annotations

import json
from array import array
from collections.abc import Callable
from math import sin, tau
from pathlib import Path
from typing import Final
from wave import open as open_wave

from pipeline.errors import CannotHereError
from pipeline.tasks import Task

WORDS: Final = [
    f"a {colour} {thing}" for thing in ("boat", "fox", "hat", "leaf") for colour in ("red", "blue", "green", "old")
]
RATE: Final = 16_000  # samples of a sound
SIDE: Final = 64  # pixels of a picture


def write_questions(task: Task, count: int, folder: Path) -> Path:
    """Write questions and the files that they come with into a new folder, and return the file of prompts.

    Raises:
        CannotHereError: A question of this task has a file of which none can be made up.
    """
    folder.mkdir()
    lines = list[dict[str, str]]()
    for number, words in enumerate(WORDS[:count]):
        line = {"prompt": words} | ({task.label: ""} if task.exact else {})  # a tone says nothing
        for role, what in task.files.items():
            if role not in MAKERS:
                remedy = "Put prompts into a file beside the recipe, or run it without --trial: `sample: 8` is enough."
                raise CannotHereError(f"A trial fetches no dataset, and makes up no {role} ({what}).", remedy=remedy)
            suffix, make = MAKERS[role]
            line[role] = f"{role}-{number}{suffix}"
            make(number, folder / line[role])
        lines.append(line)
    path = folder / "prompts.jsonl"
    path.write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    return path


def sound(number: int, path: Path) -> None:
    """Write a second of a tone, higher for each number."""
    pitch = tau * 200 * 1.2**number / RATE
    with open_wave(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE)
        file.writeframes(array("h", (int(8000 * sin(pitch * at)) for at in range(RATE))).tobytes())


def picture(number: int, path: Path) -> None:
    """Write a picture of two colours, others for each number."""
    from PIL import Image

    image = Image.new("RGB", (SIDE, SIDE), (200, 15 * number, 80))
    image.paste((15 * number, 60, 160), (0, 0, SIDE, SIDE // 2))
    image.save(path)


def mask(_: int, path: Path) -> None:
    """Write a picture that is white in its upper half."""
    from PIL import Image

    image = Image.new("L", (SIDE, SIDE))
    image.paste(255, (0, 0, SIDE, SIDE // 2))
    image.save(path)


MAKERS: Final[dict[str, tuple[str, Callable[[int, Path], None]]]] = {
    "audio": (".wav", sound),
    "image": (".png", picture),
    "mask_image": (".png", mask),
}

"""Questions: a file of prompts to start with, fit for a task, with the pictures that some of them are about."""

from __future__ import annotations

from collections.abc import Callable
from importlib.resources import files
from pathlib import Path
from typing import Final

from PIL import Image, ImageDraw

from pipeline.errors import RecipeError
from pipeline.recipe.prompts import scan
from pipeline.tasks import TASKS

NAME: Final = "prompts.jsonl"
PICTURES: Final = "pictures"  # the folder beside the prompts, as the starter files name it
SIDE: Final = 512  # pixels
# 73 clips of LibriSpeech (CC BY 4.0), 9 MB: what is spoken cannot be made up here as texts and pictures are.
CLIPS: Final = (
    "{dataset: hf-internal-testing/librispeech_asr_dummy, revision: 5be91486e11a2d616f4ec5db8d3fd248585ac07a, "
    "config: clean, split: validation, column: id, label: text, files: {audio: audio}}"
)


def questions_for(task: str, recipe: Path) -> tuple[str, dict[str, bytes]]:
    """Return the name of a prompts file beside a recipe, and what it holds where it has to be written.

    Of speech it is a dataset, as a recipe names it.
    Prompts that somebody wrote for something else are not taken; under the recipe's own name they are for it.

    Raises:
        RecipeError: There is a file of the recipe's name, and it is not fit for the task.
    """
    if "audio" in TASKS[task].files:
        return CLIPS, {}
    folder, ours = recipe.parent, (files(__package__) / "prompts" / f"{task}.jsonl").read_bytes()
    for name in (NAME, f"{recipe.stem}-{NAME}"):
        if not (folder / name).exists():
            return name, {name: ours}
        if (folder / name).is_file() and (folder / name).read_bytes() == ours:
            return name, {}
    if not scan(folder / name, TASKS[task].form)[1]:
        return name, {}
    what = f"The prompts that lie here are not fit for {task}: {scan(folder / name, TASKS[task].form)[1][0]}."
    raise RecipeError(what, where=str(folder / name), remedy="Correct them, or write the recipe to another folder.")


def write_pictures(task: str, folder: Path) -> None:
    """Draw the pictures that the starter prompts of a task are about; those that are there stay."""
    for name, scene in SCENES.items():
        for role in TASKS[task].files:
            path = folder / PICTURES / (f"{name}.png" if role == "image" else f"{name}-mask.png")
            if not path.exists():
                path.parent.mkdir(parents=True, exist_ok=True)
                drawn(scene, masked=role != "image").save(path)


def drawn(scene: Callable[[ImageDraw.ImageDraw, bool], None], *, masked: bool) -> Image.Image:
    """Return a scene, or white what of it is to be changed and black the rest."""
    image = Image.new("L" if masked else "RGB", (SIDE, SIDE))
    scene(ImageDraw.Draw(image), masked)
    return image


def shore(draw: ImageDraw.ImageDraw, masked: bool) -> None:
    """Draw sky, sea and sand; the sky is what changes."""
    if masked:
        draw.rectangle((0, 0, SIDE, 219), fill=255)
        return
    for row in range(220):
        draw.line((0, row, SIDE, row), fill=(90 + row // 2, 150 + row // 4, 225))
    for row in range(220, 360):
        draw.line((0, row, SIDE, row), fill=(20, 90 + (row * 7) % 40, 130 + (row * 11) % 50))
    draw.rectangle((0, 360, SIDE, SIDE), fill=(222, 196, 142))
    draw.ellipse((350, 40, 420, 110), fill=(255, 236, 150))


def hills(draw: ImageDraw.ImageDraw, masked: bool) -> None:
    """Draw hills and a tree before them; the tree is what changes."""
    crown, trunk = (190, 170, 330, 320), (250, 300, 270, 420)
    if masked:
        draw.rectangle((180, 160, 340, 430), fill=255)
        return
    draw.rectangle((0, 0, SIDE, SIDE), fill=(196, 222, 240))
    for number, shade in enumerate(((120, 160, 130), (90, 140, 95), (60, 115, 65))):
        base = 260 + 60 * number
        draw.ellipse((-200 + 90 * number, base, 360 + 120 * number, base + 500), fill=shade)
        draw.ellipse((240 - 80 * number, base + 20, 760, base + 520), fill=shade)
    draw.rectangle(trunk, fill=(96, 66, 40))
    draw.ellipse(crown, fill=(44, 92, 44))


def table(draw: ImageDraw.ImageDraw, masked: bool) -> None:
    """Draw a vase on a table before a wall; the vase is what changes."""
    if masked:
        draw.rectangle((190, 150, 320, 380), fill=255)
        return
    draw.rectangle((0, 0, SIDE, SIDE), fill=(214, 202, 188))
    draw.polygon(((0, 370), (SIDE, 370), (SIDE, SIDE), (0, SIDE)), fill=(134, 92, 58))
    draw.ellipse((200, 220, 310, 375), fill=(52, 86, 150))
    draw.rectangle((235, 165, 275, 240), fill=(52, 86, 150))


SCENES: Final = {"shore": shore, "hills": hills, "table": table}

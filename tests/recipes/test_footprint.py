"""What is reckoned of a call is no less than what the libraries' own forwards keep alive at once."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from pipeline.plan.footprint import footprint
from pipeline.source.layout import Folder, read_slots
from pipeline.tasks import TASKS
from tests.recipes.conftest import ROOT, described
from tests.recipes.families import FAMILIES
from tests.recipes.sparse import write

ROOM = 100 * 10**6  # bytes that are taken of the reserve: FLUX.2 joins layers, encoders keep keys and values unasked
VIDEO = {"num_frames": 121, "height": 704, "width": 1280}
CALLS: dict[str, tuple[str, dict[str, Any]]] = {
    "black-forest-labs/FLUX.1-dev": ("text-to-image", {}),
    "black-forest-labs/FLUX.2-dev": ("text-to-image", {}),
    "black-forest-labs/FLUX.2-klein-4B": ("text-to-image", {}),
    "Qwen/Qwen-Image-Edit": ("image-to-image", {}),
    "Tongyi-MAI/Z-Image-Turbo": ("text-to-image", {"guidance_scale": 0.0}),
    "stabilityai/stable-diffusion-xl-base-1.0": ("text-to-image", {}),
    "stabilityai/stable-diffusion-3.5-large": ("text-to-image", {}),
    "Wan-AI/Wan2.2-TI2V-5B-Diffusers": ("text-to-video", VIDEO),
}


@pytest.mark.nightly
def test_what_is_reckoned_covers_what_the_libraries_keep_alive(tmp_path: Path) -> None:
    reckoned: dict[tuple[str, str], int] = {}
    for (repository, (task, call)), shapes in zip(CALLS.items(), described((one, False) for one in CALLS), strict=True):
        write(tmp_path / repository, repository, shapes)
        place = Folder(tmp_path / repository)
        variant = next(iter(FAMILIES[repository].parts.values())).variant or None
        parts = {name: part for name, part in TASKS[task].layout(place, variant).components.items() if part.weights}
        slots = {name: read_slots(place, part) for name, part in parts.items()}
        found = footprint(place, parts, slots, call, task).working
        reckoned |= {(repository, name): taken for name, taken in found.items()}
    asked = [sys.executable, "-m", "tests.recipes.alive"]
    said = subprocess.run(asked, input=json.dumps([*reckoned]), cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)
    for (repository, name), counted in zip(reckoned, json.loads(said.stdout), strict=True):
        taken = reckoned[repository, name]
        assert counted <= taken + ROOM, f"{repository}, {name}: {counted} of {taken}"
        assert taken < 4 * counted + 2 * ROOM, f"{repository}, {name}: {counted} of {taken}"

"""Pictures from a digits pipeline, with the settings that it was made for, and what they are worth."""

from pathlib import Path

import torch
from diffusers import DiffusionPipeline
from PIL import Image
from scans import SIDE, Style
from vocabulary import T5_LENGTH

from pipeline.tasks.images.labels import open_classifier

STEPS = 8
CALL = {
    "num_inference_steps": STEPS,
    "guidance_scale": 1.0,
    "height": SIDE,
    "width": SIDE,
    "max_sequence_length": T5_LENGTH,
}


def load_pipeline(source: Path, dtype: torch.dtype) -> DiffusionPipeline:
    pipeline = DiffusionPipeline.from_pretrained(source, dtype=dtype, local_files_only=True)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def sample(pipeline: DiffusionPipeline, styles: list[Style]) -> list[Image.Image]:
    """One picture a style, the i-th from the noise of seed i."""
    pictures: list[Image.Image] = []
    for start in range(0, len(styles), 50):
        part = styles[start : start + 50]
        noise = [torch.Generator().manual_seed(start + index) for index in range(len(part))]
        pictures += pipeline([style.caption for style in part], generator=noise, **CALL).images
    return pictures


def read_share(classifier: Path, pictures: list[Image.Image], styles: list[Style]) -> float:
    """The share of pictures in which the classifier sees the digit that was asked for."""
    read = open_classifier(classifier).read
    hits = [read(picture) == str(style.digit) for picture, style in zip(pictures, styles, strict=True)]
    return sum(hits) / len(hits)

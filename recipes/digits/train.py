"""Make the digits source: a small text-to-image model, and the models that judge it, from scikit-learn's digits.

    python recipes/digits/train.py

writes `source/` (a FluxPipeline), `clip/` (a CLIPModel with its processor), `classifier/` (an image classifier with its
processor) and `prompts.jsonl` beside this file. The same versions on the same machine write the same bytes. 27 minutes
on two cores; `--only classifier` takes one.
"""

import argparse
import logging
from pathlib import Path

import numpy as np
import torch
from autoencoder import latents_of, train_autoencoder
from contrast import new_processor, train_clip
from flow import as_pipeline, tokenize, train_text_to_image
from PIL import Image
from reader import new_image_processor, train_reader
from sample import load_pipeline, read_share, sample
from scans import COLOURS, Scans, Style, evaluation_styles, load, paint, write_prompts
from torch import Tensor
from training import deterministic

HERE = Path(__file__).parent
PARTS = ("source", "clip", "classifier")
PROMPTS = 24
log = logging.getLogger("digits")


def main() -> None:
    options = _options()
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    log.setLevel(logging.INFO)
    training, _ = load()
    pictures, styles = painted(training)
    captions = [style.caption for style in styles]
    if "source" in options.only:
        train_source(pictures, captions, options)
    if "clip" in options.only:
        clip = train_clip(pictures, captions, options.clip_steps, deterministic(3))
        clip.save_pretrained(options.out / "clip")
        new_processor().save_pretrained(options.out / "clip")
    if "classifier" in options.only:
        digits = torch.tensor([style.digit for style in styles])
        train_reader(pictures, digits, options.classifier_steps, deterministic(4)).save_pretrained(
            options.out / "classifier"
        )
        new_image_processor().save_pretrained(options.out / "classifier")
    write_prompts(options.out / "prompts.jsonl", PROMPTS)
    for dtype in (torch.float32, torch.bfloat16):
        asked = evaluation_styles(100)
        drawn = sample(load_pipeline(options.out / "source", dtype), asked)
        share = read_share(options.out / "classifier", drawn, asked)
        log.info("%s: %.0f of 100 pictures are read as the digit asked for", dtype, 100 * share)


def painted(scans: Scans) -> tuple[list[Image.Image], list[Style]]:
    """Every scan in every colour, with what is said of it."""
    pairs = [(row, colour) for row in range(len(scans)) for colour in range(len(COLOURS))]
    pictures = [paint(scans.ink[row], colour) for row, colour in pairs]
    return pictures, [scans.style(row, colour) for row, colour in pairs]


def train_source(pictures: list[Image.Image], captions: list[str], options: argparse.Namespace) -> None:
    """The autoencoder, then transformer and text encoders on its latents, saved as one pipeline."""
    pixels = _as_tensor(pictures)
    autoencoder = train_autoencoder(pixels, options.autoencoder_steps, deterministic(1))
    latents = latents_of(autoencoder, pixels)
    model = train_text_to_image(latents, tokenize(captions), options.steps, deterministic(2))
    as_pipeline(model, autoencoder).save_pretrained(options.out / "source")


def _as_tensor(pictures: list[Image.Image]) -> Tensor:
    """(n, 3, 32, 32) from -1 to 1."""
    stacked = torch.from_numpy(np.stack([np.asarray(picture) for picture in pictures]))
    return stacked.permute(0, 3, 1, 2).float() / 127.5 - 1


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Train the digits source and its judges; progress goes to stderr.")
    parser.add_argument("--out", type=Path, default=HERE, help="folder to write to (default: beside this file)")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS, help="what is trained; the rest is there")
    parser.add_argument("--autoencoder-steps", type=int, default=1000)
    parser.add_argument("--steps", type=int, default=5000, help="of transformer and text encoders")
    parser.add_argument("--clip-steps", type=int, default=1000)
    parser.add_argument("--classifier-steps", type=int, default=400)
    return parser.parse_args()


if __name__ == "__main__":
    main()

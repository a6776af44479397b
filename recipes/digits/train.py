"""Make the digits source: a small text-to-image model, and the CLIP that judges it, from scikit-learn's digits.

    python recipes/digits/train.py

writes `source/` (a FluxPipeline), `clip/` (a CLIPModel with its processor) and `prompts.jsonl` beside this file.
The same versions on the same machine write the same bytes. 26 minutes on two cores.
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
from sample import load_pipeline, read_share, sample
from scans import COLOURS, Scans, evaluation_styles, load, paint, write_prompts
from torch import Tensor
from training import deterministic

HERE = Path(__file__).parent
PROMPTS = 24
log = logging.getLogger("digits")


def main() -> None:
    options = _options()
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    log.setLevel(logging.INFO)
    training, _ = load()
    pictures, captions = painted(training)
    train_source(pictures, captions, options)
    clip = train_clip(pictures, captions, options.clip_steps, deterministic(3))
    clip.save_pretrained(options.out / "clip")
    new_processor().save_pretrained(options.out / "clip")
    write_prompts(options.out / "prompts.jsonl", PROMPTS)
    for dtype in (torch.float32, torch.bfloat16):
        styles = evaluation_styles(100)
        share = read_share(sample(load_pipeline(options.out / "source", dtype), styles), styles)
        log.info("%s: %.0f of 100 pictures are read as the digit asked for", dtype, 100 * share)


def painted(scans: Scans) -> tuple[list[Image.Image], list[str]]:
    """Every scan in every colour, with its caption."""
    pairs = [(row, colour) for row in range(len(scans)) for colour in range(len(COLOURS))]
    pictures = [paint(scans.ink[row], colour) for row, colour in pairs]
    return pictures, [scans.style(row, colour).caption for row, colour in pairs]


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
    parser = argparse.ArgumentParser(description="Train the digits source and its CLIP; progress goes to stderr.")
    parser.add_argument("--out", type=Path, default=HERE, help="folder to write to (default: beside this file)")
    parser.add_argument("--autoencoder-steps", type=int, default=1000)
    parser.add_argument("--steps", type=int, default=5000, help="of transformer and text encoders")
    parser.add_argument("--clip-steps", type=int, default=1000)
    return parser.parse_args()


if __name__ == "__main__":
    main()

"""The judge of labels: a small image classifier, trained on painted scans, that says which digit a picture shows."""

import torch
from PIL import Image
from scans import SIDE
from torch import Tensor
from torch.nn.functional import cross_entropy
from torch.optim.swa_utils import update_bn
from training import descend
from transformers import ConvNextImageProcessorPil, ResNetConfig, ResNetForImageClassification

BATCH = 128
PEAK = 3e-3
WORDS = tuple("0123456789")
"""What it says, as the labels of the prompts have it."""


def new_image_processor() -> ConvNextImageProcessorPil:
    """The PIL one, which needs no torchvision; values from -1 to 1."""
    middle = [0.5] * 3
    return ConvNextImageProcessorPil(size={"shortest_edge": SIDE}, crop_pct=1.0, image_mean=middle, image_std=middle)


def new_reader() -> ResNetForImageClassification:
    """A ResNet of one block a stage, which see 8 x 8, 4 x 4 and 2 x 2 places."""
    return ResNetForImageClassification(
        ResNetConfig(
            embedding_size=16,
            hidden_sizes=[16, 32, 64],
            depths=[1, 1, 1],
            layer_type="basic",
            id2label=dict(enumerate(WORDS)),
            label2id={word: index for index, word in enumerate(WORDS)},
        )
    )


def train_reader(
    pictures: list[Image.Image], digits: Tensor, steps: int, draw: torch.Generator
) -> ResNetForImageClassification:
    """Have each picture read as its digit (n,)."""
    pixels = new_image_processor()(pictures, return_tensors="pt")["pixel_values"]
    reader = new_reader().train()

    def loss() -> Tensor:
        rows = torch.randint(len(pixels), (BATCH,), generator=draw)
        return cross_entropy(reader(pixels[rows]).logits.float(), digits[rows], label_smoothing=0.1)

    descend("classifier", [reader], steps, PEAK, loss)
    update_bn([pixels], reader)  # of the averaged weights, which no step has seen
    return reader.eval()

"""The judge of pictures against captions: a small CLIP, trained on painted scans and their captions."""

import numpy as np
import torch
from PIL import Image
from scans import SIDE
from torch import Tensor
from torch.nn.functional import log_softmax
from training import descend
from transformers import CLIPConfig, CLIPImageProcessorPil, CLIPModel, CLIPProcessor
from vocabulary import CLIP_LENGTH, clip_tokenizer

BATCH = 128
PEAK = 1e-3
WIDTH = 64


def new_processor() -> CLIPProcessor:
    """Tokenizer and image processor; the latter is the PIL one, which needs no torchvision."""
    images = CLIPImageProcessorPil(size={"shortest_edge": SIDE}, crop_size={"height": SIDE, "width": SIDE})
    return CLIPProcessor(image_processor=images, tokenizer=clip_tokenizer())


def new_clip() -> CLIPModel:
    tokenizer = clip_tokenizer()
    text = {
        "vocab_size": len(tokenizer),
        "hidden_size": WIDTH,
        "intermediate_size": 2 * WIDTH,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "max_position_embeddings": CLIP_LENGTH,
        "pad_token_id": tokenizer.pad_token_id,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
    }
    vision = {
        "hidden_size": WIDTH,
        "intermediate_size": 4 * WIDTH,
        "num_hidden_layers": 3,
        "num_attention_heads": 2,
        "image_size": SIDE,
        "patch_size": 4,
    }
    return CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=WIDTH))


def train_clip(pictures: list[Image.Image], captions: list[str], steps: int, draw: torch.Generator) -> CLIPModel:
    """Bring each picture near its caption and away from the others of its batch.

    Many pictures share a caption, so the target is spread evenly over all of the batch that have the same one.
    """
    processor = new_processor()
    pixels = processor(images=pictures, return_tensors="pt")["pixel_values"]
    words = processor(text=captions, padding=True, return_tensors="pt")
    same = _identities(captions)
    model = new_clip().train()

    def loss() -> Tensor:
        rows = torch.randint(len(pixels), (BATCH,), generator=draw)
        scores = model(
            input_ids=words["input_ids"][rows],
            attention_mask=words["attention_mask"][rows],
            pixel_values=_nudged(pixels[rows], draw),
        ).logits_per_image.float()
        target = (same[rows][:, None] == same[rows][None, :]).float()
        target = target / target.sum(dim=1, keepdim=True)
        return -(target * (log_softmax(scores, 1) + log_softmax(scores.T, 1))).sum(dim=1).mean() / 2

    descend("clip", [model], steps, PEAK, loss)
    return model.eval()


def _nudged(pixels: Tensor, draw: torch.Generator) -> Tensor:
    """The batch moved by up to one pixel each way: the paper at the border is white on both sides."""
    down, right = (torch.randint(-1, 2, (2,), generator=draw)).tolist()
    return pixels.roll((down, right), dims=(2, 3))


def _identities(captions: list[str]) -> Tensor:
    """A number for each caption, the same for the same caption."""
    return torch.from_numpy(np.unique(captions, return_inverse=True)[1])


@torch.no_grad()
def clip_scores(model: CLIPModel, processor: CLIPProcessor, pictures: list[Image.Image], captions: list[str]) -> Tensor:
    """100 times the cosine of each picture (rows) with each caption (columns), as torchmetrics defines the score."""
    inputs = processor(images=pictures, text=captions, padding=True, return_tensors="pt")
    output = model(**inputs)
    return 100 * output.image_embeds @ output.text_embeds.T
